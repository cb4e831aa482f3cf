# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure how well a model's answers to probes name the recipient whose copy it learned from.

Images of CIFAR-10 at 32 pixels, all of its classes or the first five. Recipients have keys of two targets a class
(Horizontal Concat, the default) or of one (Basic), with augmentation-aware steps. For each key one copy is encrypted
and victims are trained on it: as usual, on the copy after JPEG of quality 75, and adversarially (L2, worst cases at
the radius of the copy, three steps); and the victims trained as usual are fine-tuned on 1 % of clean images. Diluted:
of as many training images as the copy has, a share of each class comes from the copy and the rest are clean images of
others, which are in no copy; the shares are 95 %, 50 %, 25 %, 10 % and 5 %. Innocent models learn from the originals
or from other images. Each model answers the same 1,000 probes, made of images that nobody trained on.

Fixed before a model of these ways was asked: a model counts as named at a p value of 0.001 or less with all its
answers, every model of the list is counted, and each way has six models, three keys on two architectures. Data of too
few classes are not trained on: the page says why, with the lowest p value that any answers could give.

Every model's answers are one line of a JSON-lines file, appended at once; a second run measures only what is missing.
Detection, false accusations and the power curve are computed from that file only.

    python -m scripts.trace_models CIFAR10 --work /tmp/tracing --out results/tracing_models
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.attackers.countermeasures.adversarial_training import WorstCase
from monai_advenc.attackers.countermeasures.dilution import FINE_TUNING
from monai_advenc.data.images.cifar10 import read_cifar10
from monai_advenc.data.images.exports import jpeg
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.manifest import software_versions
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.evaluation.accuracy import measure_accuracy, predict_logits
from monai_advenc.evaluation.tracing.probes import Probes, make_probes
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from scripts.traced_models_list import Cell, cells, too_few
from scripts.traced_models_page import draw_page

LEVELS, EPOCHS, STEPS = 255, 12, 10
OWNED, SHARED, PROBED, TESTED = 300, 200, 200, 100
"""Images of each class: of the base network, of these in a copy, for probes, for accuracy; others have as many clean
images as are in a copy."""

STRENGTHS = (2.0, 4.0)
"""Radius of the probes, in radii of the copies."""


class Bench:
    """Images, base network, probes, copies and victims of so many classes, each made when needed and then kept."""

    def __init__(self, classes: int, radius: float, source: Path, work: Path) -> None:
        self.classes, self.radius = classes, radius
        self.work = work / f"{classes}-{radius:g}"
        self.work.mkdir(parents=True, exist_ok=True)
        parts = [ImageSet(*each) for each in _kept(work / "images.pt", lambda: read_parts(source))]
        self.owned, self.never_shared, others, self.test = (first_classes(each, classes) for each in parts)
        self.shared, self.others = (each.first_of_each_class(SHARED * classes) for each in (self.owned, others))
        self.base = self._network("base", "resnet_small", 0, lambda start: self.train(start, self.owned, 0))

    @staticmethod
    def train(start: nn.Module, images: ImageSet, seed: int, **how: Any) -> nn.Module:
        """Train a network as every network here."""
        return train(start, images, None, TrainingSettings(epochs=EPOCHS, seed=seed), **how).network

    def _network(self, name: str, kind: str, seed: int, trained: Callable[[nn.Module], nn.Module]) -> nn.Module:
        network = get_network(kind, self.classes, 3, 32, seed=seed)
        network.load_state_dict(_kept(self.work / f"{name}.pt", lambda: trained(network).state_dict()))
        return network.eval()

    def key(self, targets: int, number: int) -> EncryptionKey:
        """A recipient's key."""
        return draw_key(
            self.shared.classes,
            combiner="basic" if targets == 1 else "horizontal-concat",
            radius=self.radius,
            radius_at=0,
            schedule="fast",
            steps=STEPS,
            seed=100 * self.classes + number,
        )

    def probes(self, strength: float) -> Probes:
        """A thousand probes of images that nobody trains on."""
        settings = self.key(1, 0).perturbation
        path = self.work / f"probes-{strength:g}.pt"
        kept = _kept(path, lambda: vars(make_probes(self.base, self.never_shared, settings, strength=strength)))
        return Probes(**kept)

    def copy(self, targets: int, number: int) -> ImageSet:
        """A recipient's copy, on the grid of 8-bit files."""

        def encrypt() -> torch.Tensor:
            network = prepare(self.base, (3, 32, 32), steps=STEPS)
            key = self.key(targets, number)
            return encrypt_batch(key, network, self.shared.images, self.shared.labels, levels=LEVELS)

        return with_pixels(self.shared, _kept(self.work / f"copy-{targets}-{number}.pt", encrypt))

    def diluted(self, copy: ImageSet, percent: int) -> ImageSet:
        """As many images as in a copy, so many percent of them from it, the rest clean images of others."""
        number = len(copy) * percent // 100
        return copy.first_of_each_class(number).joined(self.others.first_of_each_class(len(copy) - number))

    def victim(self, cell: Cell) -> nn.Module:
        """Train the network of a cell."""
        images = self.shared if cell.copy is None else self.copy(*cell.copy)
        if cell.way == "fine-tuned":
            clean = self.others.first_of_each_class(len(images) // 100)
            usual = self.victim(replace(cell, way="usual"))
            return train(usual, clean, None, FINE_TUNING.model_copy(update={"seed": cell.seed})).network
        how: dict[str, Any] = {}
        if cell.way == "other images":
            images = self.others
        elif cell.way == "JPEG 75":
            images = with_pixels(images, torch.stack([jpeg(75)(image) for image in images.images]))
        elif cell.way.endswith("% copy"):
            images = self.diluted(images, int(cell.way.partition(" ")[0]))
        elif cell.way == "adversarial":
            how["lesson"] = WorstCase("l2", self.radius)
        return self._network(
            cell.name, cell.network, cell.seed, lambda start: self.train(start, images, cell.seed, **how)
        )


def _kept(path: Path, make: Callable[[], Any]) -> Any:
    """What a file holds; made first where there is none."""
    if not path.exists():
        made = path.with_suffix(".part")
        torch.save(make(), made)
        made.rename(path)
    return torch.load(path)


def read_parts(source: Path) -> list[tuple[Any, ...]]:
    """Read the images to share, those for probes, those of others, and test images: no image is in two of them."""
    images = read_cifar10(source, train_size=10 * (2 * OWNED + PROBED), test_size=10 * TESTED)
    rows = [(images.train.labels == label).nonzero().flatten() for label in range(10)]
    edges = (0, OWNED, OWNED + PROBED, 2 * OWNED + PROBED)
    parts = [images.train.subset(torch.cat([own[start:end] for own in rows])) for start, end in pairwise(edges)]
    return [(each.images, each.labels, each.ids, each.classes) for each in (*parts, images.test)]


def first_classes(images: ImageSet, count: int) -> ImageSet:
    """The images of the first classes."""
    part = images.subset((images.labels < count).nonzero().flatten())
    return ImageSet(part.images, part.labels, part.ids, part.classes[:count])


def with_pixels(images: ImageSet, pixels: torch.Tensor) -> ImageSet:
    """The same images with other pixels."""
    return ImageSet(pixels, images.labels, images.ids, images.classes)


def measure(cell: Cell, bench: Bench) -> dict[str, Any]:
    """Train a model, ask it, and describe it."""
    started = time.process_time()
    network = bench.victim(cell)
    answers = {}
    for strength in STRENGTHS:
        predicted = predict_logits(network, bench.probes(strength).images).argmax(dim=1)
        answers[f"{strength:g}"] = "".join(map(str, predicted.tolist()))
    key = None if cell.copy is None else bench.key(*cell.copy).correspondence.targets
    return {
        "cell": cell.name,
        **asdict(cell),
        "accuracy": round(measure_accuracy(network, bench.test).value, 4),
        "targets": key,
        "answers": answers,
        "cpu_s": round(time.process_time() - started, 1),
    }


def describe(bench: Bench) -> dict[str, Any]:
    """The line of a base network and its probes."""
    probes = bench.probes(STRENGTHS[0])
    return {
        "cell": f"{bench.classes} classes, radius {bench.radius:g}, base",
        "classes": bench.classes,
        "radius": bench.radius,
        "base_accuracy": round(measure_accuracy(bench.base, bench.test).value, 4),
        "sizes": [len(each) for each in (bench.owned, bench.shared, probes, bench.test)],
        "labels": "".join(map(str, probes.labels.tolist())),
        "toward": "".join(map(str, probes.toward.tolist())),
        "software": software_versions(),
    }


def main() -> None:
    """Measure missing models and draw the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="CIFAR-10")
    parser.add_argument("--work", type=Path, required=True, help="folder for networks and copies, to continue from")
    parser.add_argument("--out", default="results/tracing_models", help="path of the results without suffix")
    parser.add_argument("--most", type=int, default=1000, help="measure so many models at most")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = Path(f"{options.out}.jsonl")
    record.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    benches: dict[tuple[int, float], Bench] = {}

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(row["cell"], row.get("accuracy", row.get("base_accuracy")), row.get("cpu_s"), flush=True)

    for cell in list(cells())[: options.most]:
        done = {row["cell"] for row in rows}
        if cell.name in done:
            continue
        place = (cell.classes, cell.radius)
        if place not in benches:
            benches[place] = Bench(*place, options.source, options.work)
            described = describe(benches[place])
            if described["cell"] not in done:
                add(described)
        add(measure(cell, benches[place]))
    for row in too_few():
        if row["cell"] not in {each["cell"] for each in rows}:
            add(row)
    Path(f"{options.out}.md").write_text(draw_page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
