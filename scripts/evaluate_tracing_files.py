# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure how often leaked files are traced to the right recipient, and to a wrong one.

For each data set and number of classes, a small base network is trained, and 20 recipients get a key each. Copies of
the same images for ten of them, and averages of two and of three copies, go through the ways in which images change on
their way. A guilty trial takes one copy (or average) and ten of its images at random; an innocent trial takes the same
against the keys of 20 others, who are in no other trial of the row. All trials are scored against the same decoys, as
all leaks are after a commitment. Where a folder has fewer classes than wanted, its classes are divided in two: to
mark and trace images, classes matter only by the keys' combiners and targets.

    python -m scripts.evaluate_tracing_files real=SLICES phantoms=SLICES --out results/tracing_files
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.manifest import software_versions
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.fidelity import GRAY_LEVELS
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.keyed_digest import mark_seed
from monai_advenc.encryption.mark import content_of, sign_bytes
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.evaluation.tracing.decoys import DECOYS, Decoys
from monai_advenc.evaluation.tracing.files import waves_of
from monai_advenc.evaluation.tracing.leaked_images import grays
from monai_advenc.evaluation.tracing.registration import register
from monai_advenc.evaluation.tracing.residual import residual_of
from monai_advenc.evaluation.tracing.significance import CONFIDENCE, LEVEL, p_value, suspects
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from scripts.leaked_file_ways import TOGETHER, WAYS, Way
from scripts.traced_files_page import draw_page

RECIPIENTS, LEAKERS, TRIALS, INNOCENT_TRIALS, IMAGES = 20, 10, 100, 1000, 10
CLASSES = (2, 3, 5)

_AT_A_TIME = 10_000
"""Secrets whose marks are held in memory together."""

Array = NDArray[np.float64]


def main() -> None:
    """Measure missing settings and draw the table."""
    options = parse_options()
    torch.set_num_threads(1)
    record = Path(f"{options.out}.jsonl")
    record.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.is_file() else []
    for name, folder in options.data:
        for classes in CLASSES:
            if not any((row["data"], row["classes"]) == (name, classes) for row in rows):
                began = time.process_time()
                new = list(measure(name, image_set(folder, classes, options.size), options))
                rows += new
                with record.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(row) + "\n" for row in new)
                print(name, classes, f"{time.process_time() - began:.0f} s of CPU", flush=True)
    Path(f"{options.out}.md").write_text(draw_page(rows, conditions(options)), encoding="utf-8")


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=_named_folder, help="name=folder of class folders of slices")
    parser.add_argument("--out", default="results/tracing_files", help="path of the results without suffix")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--pool", type=int, default=12, help="images of which a trial takes ten")
    parser.add_argument("--steps", type=int, default=6)
    return parser.parse_args()


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    return name, Path(folder)


def image_set(folder: Path, classes: int, size: int, per_class: int = 60) -> ImageSet:
    """Images of so many classes: the first ones, or each divided in two until there are enough."""
    found = find_images(folder)
    whole = load_image_set(_part(found, per_class), size, gray=True)
    labels = whole.labels.clone()
    if classes <= len(found.classes):
        kept = labels < classes
        return ImageSet(
            whole.images[kept], labels[kept], tuple(np.array(whole.ids)[kept.numpy()]), tuple("abcde")[:classes]
        )
    for extra in range(classes - len(found.classes)):
        members = (labels == extra).nonzero().flatten()
        labels[members[len(members) // 2 :]] = len(found.classes) + extra
    return ImageSet(whole.images, labels, whole.ids, tuple("abcde")[:classes])


def _part(found: Any, per_class: int) -> Any:
    """An equal number of images of each class, evenly spread over the names."""
    chosen = []
    for label in range(len(found.classes)):
        own = [file for file in found.files if file.label == label]
        chosen += own[:: max(1, len(own) // per_class)][:per_class]
    return replace(found, files=tuple(chosen))


def measure(name: str, images: ImageSet, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure one data set with one number of classes."""
    classes = len(images.classes)
    base = train(
        get_network("vgg_small", classes, 1, options.size), images, None, TrainingSettings(epochs=6, batch_size=32)
    ).network.eval()
    prepared = prepare(base, (1, options.size, options.size))
    pool = images.subset(np.linspace(0, len(images) - 1, options.pool).round().astype(int).tolist())
    keys = [
        draw_key(images.classes, schedule="fast", steps=options.steps, recipient=str(number))
        for number in range(RECIPIENTS)
    ]
    copies = [encrypt_batch(key, prepared, pool.images, pool.labels, levels=65535) for key in keys[:LEAKERS]]
    draw = np.random.default_rng(classes)
    leaked = Leaks(pool)
    yield {"data": name, "classes": classes, "way": "distance", **distances(pool.images, copies, keys, prepared, pool)}
    waves: list[Array] = []
    guilty: list[tuple[int, ...]] = []
    for change in WAYS.values():
        waves += [leaked.waves(copy, change, draw) for copy in copies]
        guilty += [(number,) for number in range(LEAKERS)]
    for way, count in TOGETHER.items():
        groups = [tuple(draw.choice(LEAKERS, count, replace=False).tolist()) for _ in range(LEAKERS)]
        change = WAYS["JPEG 75" if "JPEG" in way else "8-bit export"]
        waves += [leaked.waves(torch.stack([copies[n] for n in group]).mean(dim=0), change, draw) for group in groups]
        guilty += groups
    own = [bytes.fromhex(key.layout_secret) for key in keys]
    scores = leaked.scores(waves, own, [draw.bytes(32) for _ in range(RECIPIENTS * INNOCENT_TRIALS)])
    for number, way in enumerate([*WAYS, *TOGETHER]):
        part = slice(number * LEAKERS, (number + 1) * LEAKERS)
        yield {"data": name, "classes": classes, "way": way, **trials(scores[part], guilty[part], draw)}


class Leaks:
    """What changed copies of a pool of images say about marks.

    Args:
        pool: The images.
    """

    def __init__(self, pool: ImageSet) -> None:
        self.originals = [grays(image) for image in pool.images]
        self.contents = [content_of(image) for image in pool.images]

    def waves(self, copy: Tensor, change: Way, draw: np.random.Generator) -> Array:
        """What is found of each wave in each image of a leaked copy, ``(images, K)``."""
        leaked = [grays(change(image, draw)) for image in copy]
        pairs = zip(self.originals, leaked, strict=True)
        return np.array([waves_of(own, residual_of(own, other, register(own, other))) for own, other in pairs])

    def scores(self, waves: list[Array], own: list[bytes], outside: list[bytes]) -> NDArray[np.float32]:
        """Scores of decoys, recipients' and outsiders' secrets on each image alone, ``(leaks, images, secrets)``."""
        secrets = [*(Decoys("5" * 64).secret(number) for number in range(DECOYS)), *own, *outside]
        found = np.empty((len(waves), len(self.contents), len(secrets)), np.float32)
        count = waves[0].shape[1]
        for image, content in enumerate(self.contents):
            of_image = np.array([leak[image] for leak in waves], np.float32)
            for start in range(0, len(secrets), _AT_A_TIME):
                part = secrets[start : start + _AT_A_TIME]
                drawn = b"".join(sign_bytes(mark_seed(secret, content), count) for secret in part)
                bits = np.unpackbits(np.frombuffer(drawn, np.uint8).reshape(len(part), -1), axis=1, count=count)
                marks = 2 * bits.astype(np.float32) - 1
                found[:, image, start : start + len(part)] = of_image @ marks.T
        return found


def trials(scores: NDArray[np.float32], guilty: list[tuple[int, ...]], draw: np.random.Generator) -> dict[str, Any]:
    """Count who is named in guilty and in innocent trials.

    Args:
        scores: Of each leak, see :meth:`Leaks.scores`.
        guilty: The recipients whose copies each leak was made from.
        draw: Draws leaks and images.
    """
    count = scores.shape[1]
    null, owners, others = np.split(scores, [DECOYS, DECOYS + RECIPIENTS], axis=2)
    of_all = null.sum(axis=1)
    found = wrong = single = 0
    strengths = []
    for _ in range(TRIALS):
        leak = int(draw.integers(len(scores)))
        rows = draw.choice(count, IMAGES, replace=False)
        named = _named(owners[leak, rows].sum(0), _without(of_all[leak], null[leak], rows))
        found += set(guilty[leak]) <= named
        wrong += bool(named - set(guilty[leak]))
        single += set(guilty[leak]) <= _named(owners[leak, rows[0]], null[leak, rows[0]].astype(np.float64))
        strengths += [owners[leak, rows, who].mean() for who in guilty[leak]]
    accusations, p_values = 0, []
    for trial in range(INNOCENT_TRIALS):
        leak = int(draw.integers(len(scores)))
        rows = draw.choice(count, IMAGES, replace=False)
        keys = others[leak, rows, trial * RECIPIENTS : (trial + 1) * RECIPIENTS].sum(0)
        against = _without(of_all[leak], null[leak], rows)
        accusations += bool(_named(keys, against))
        p_values.append(p_value(float(keys[0]), against))
    return {
        "trials": TRIALS,
        "all_found": found,
        "others_named": wrong,
        "all_found_from_one_image": single,
        "mean_score_of_an_image": round(float(np.mean(strengths)), 2),
        "innocent_trials": INNOCENT_TRIALS,
        "innocent_accused": accusations,
        "ks_p": round(float(stats.kstest(p_values, "uniform").pvalue), 3),
    }


def _without(of_all: NDArray[np.float32], scores: NDArray[np.float32], rows: NDArray[np.int64]) -> Array:
    """The sum of the scores ``(images, M)`` of these images: that of all, less the few others."""
    left_out = np.setdiff1d(np.arange(len(scores)), rows)
    found: Array = (of_all - scores[left_out].sum(axis=0)).astype(np.float64)
    return found


def _named(scores: NDArray[np.float32], decoys: Array) -> set[int]:
    by_name = {str(number): float(score) for number, score in enumerate(scores)}
    return {int(each.recipient) for each in suspects(by_name, decoys, LEVEL) if each.accused}


def distances(
    originals: Tensor, copies: list[Tensor], keys: list[EncryptionKey], prepared: Any, pool: ImageSet
) -> dict[str, Any]:
    """How far apart two recipients' copies are, with and without marks, in gray levels of 255 (root mean square)."""
    plain = [
        encrypt_batch(key.model_copy(update={"mark": None}), prepared, pool.images, pool.labels, levels=65535)
        for key in keys[:2]
    ]

    def apart(first: Tensor, second: Tensor) -> float:
        return round(float((GRAY_LEVELS * (first - second)).square().mean().sqrt()), 3)

    def cosine(first: Tensor, second: Tensor) -> float:
        one, two = (each - originals for each in (first, second))
        return round(float((one * two).sum() / one.norm() / two.norm()), 3)

    return {
        "change": apart(copies[0], originals),
        "apart": apart(copies[0], copies[1]),
        "apart_without_marks": apart(plain[0], plain[1]),
        "cosine": cosine(copies[0], copies[1]),
        "cosine_without_marks": cosine(plain[0], plain[1]),
    }


def conditions(options: argparse.Namespace) -> list[str]:
    """What was measured, a line each."""
    software = ", ".join(f"{name} {version}" for name, version in software_versions().items())
    return [
        f"{RECIPIENTS} recipients, copies of {LEAKERS}; {DECOYS:,} decoys, level {LEVEL:g} with Holm's correction of "
        f"upper bounds of p values at {CONFIDENCE:.0%} confidence",
        f"an innocent trial has {RECIPIENTS} keys of its own; all trials of a row have the same decoys and copies",
        f"a trial has {IMAGES} images of {options.pool}, of {options.size}x{options.size} pixels",
        f"keys: default profile, {options.steps} fast steps, the default radius (44 dB); base network vgg_small",
        "real slices with five classes: two of three classes were divided in two",
        f"software: {software}",
    ]


if __name__ == "__main__":
    main()
