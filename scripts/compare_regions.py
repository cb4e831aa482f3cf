# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare the regions ``all`` and ``body`` at an equally visible change, to choose the default of ``--region``.

Protocol, written before any result:

- Data: real slices in class folders, the first images of each class, training and test images apart.
- For each seed: a base network, a correspondence, and victims of two architectures (one seed each).
- ``all`` changes every pixel within ``--radius``. ``body`` changes the pixels of ``regions.body`` within the share of a
  radius that the product uses (``radius_scales``). Two radii of ``body`` are searched on every
  fifth training image: at one the mean PSNR over whole images is that of ``all`` (within 0.05 dB), at the other the
  mean HaarPSI (within 0.002). The table has both over all training images.
- Files: pixels on the grid of 16-bit PNG.
- Victims as usual train on the images as written. Victims that mask train on these with zeros outside the body, which
  they find in the encrypted image, and are tested on originals masked in the same way. Victims trained on originals
  stand for what is there to lose. All accuracies are of the last epoch on real test images.
- The number that counts is A, the highest accuracy over architectures and both kinds of victims, as in the verdict
  without renaming of answers.
- The rule: ``body`` becomes the default only if the mean over the seeds of A(all) - A(body) is positive and larger than
  its standard error, at equal PSNR *and* at equal HaarPSI. Else ``all``, the paper's, stays. The rule must hold at two
  sizes of the change, ``--radius`` 0.8 (38 dB) and 0.4 (44 dB), each with files of its own.

Results are appended to a JSON-lines file; a second run measures what is missing.

    python scripts/compare_regions.py data/train data/test --out results/regions
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.manifest import software_versions
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.radius import radius_scales
from monai_advenc.encryption.regions import body
from monai_advenc.evaluation.haarpsi import haarpsi
from monai_advenc.evaluation.protection import without_background
from monai_advenc.evaluation.victims import VictimJob, train_victim
from monai_advenc.networks.training import TrainingSettings
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from scripts.evaluate_real_slices import train_base

EQUAL: Final = {"psnr_db": 0.05, "haarpsi": 0.002}
"""The measures at which regions are compared, and how close their means must be."""

ARMS: Final = ("originals", "all", "body, equal psnr_db", "body, equal haarpsi")
KINDS: Final = ("usual", "masked")
VICTIM_SEED_OFFSET, MOST_TRIALS = 100, 8


def main() -> None:
    """Measure what is missing and draw the table."""
    options = parse_options()
    record = Path(f"{options.out}.jsonl")
    record.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    train_set = first_of_each(options.train, None, options.train_images, options.size)
    test_set = first_of_each(options.test, train_set.classes, options.test_images, options.size)
    for seed in range(options.seeds):
        done = {(row["arm"], row["kind"]) for row in rows if row["seed"] == seed}
        if len(done) == len(ARMS) * len(KINDS):
            continue
        network, accuracy = train_base(train_set, test_set, seed, options)
        for arm, images, facts in arms_of(seed, network, train_set, options):
            for kind in KINDS:
                if (arm, kind) not in done:
                    sets = (images, test_set) if kind == "usual" else map(without_background, (images, test_set))
                    row = {"seed": seed, "base": round(accuracy, 4), "arm": arm, "kind": kind, **facts}
                    rows.append(row | {"victims": victims_of(seed, arm, *sets, options)})
                    with record.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    Path(f"{options.out}.md").write_text(page_of(rows, train_set, test_set, options), encoding="utf-8")


def first_of_each(folder: Path, classes: Any, count: int, size: int) -> ImageSet:
    """The first images of each class, gray and resized."""
    found = find_images(folder, classes)
    labels = range(len(found.classes))
    files = tuple(file for label in labels for file in [f for f in found.files if f.label == label][:count])
    return load_image_set(replace(found, files=files), size, gray=True)


def arms_of(seed: int, network: nn.Module, images: ImageSet, options: Any) -> Iterator[tuple[str, ImageSet, Any]]:
    """The training sets of the victims: name, images, radius with PSNR and HaarPSI."""
    yield ARMS[0], images, {}
    regions = torch.stack([body(image) for image in images.images])
    few, few_regions = images.subset(torch.arange(0, len(images), 5)), regions[::5]
    aim = visibility(encrypt(seed, network, few, None, options.radius, options), few.images)
    radii: dict[str, float] = {}
    for measure, tolerance in EQUAL.items():

        def difference(radius: float, measure: str = measure) -> float:
            found = visibility(encrypt(seed, network, few, few_regions, radius, options), few.images)
            return found[measure] - aim[measure]

        radii[f"body, equal {measure}"] = search(difference, options.radius, tolerance)
    for arm, radius in {"all": options.radius, **radii}.items():
        free = None if arm == "all" else regions
        encrypted = encrypt(seed, network, images, free, radius, options)
        change = (encrypted - images.images).square()
        facts = {"radius": round(radius, 4), **visibility(encrypted, images.images)}
        facts["inside_body"] = round(float((change * regions).sum() / change.sum()), 4)
        facts["body"] = round(float(regions.double().mean()), 4)
        yield arm, replace(images, images=encrypted), facts


def encrypt(
    seed: int, network: nn.Module, images: ImageSet, regions: Tensor | None, radius: float, options: Any
) -> Tensor:
    """Encrypt with a key of this seed; the correspondence does not depend on the radius."""
    settings = PerturbationSettings(
        radius=radius, step_size=2.5 * radius / options.steps, steps=options.steps, augmentation=Augmentation()
    )
    key = EncryptionKey.draw(images.classes, settings, combiner="basic", seed=seed)
    channels, height, width = images.images.shape[1:]
    return encrypt_batch(
        key,
        prepare(network, (channels, height, width), precision="fp32"),
        images.images,
        images.labels,
        regions=regions,
        scales=None if regions is None else radius_scales(regions, "l2"),
        levels=65535,
    )


def visibility(encrypted: Tensor, originals: Tensor) -> dict[str, float]:
    """Mean PSNR and HaarPSI over whole images."""
    psnr = np.mean([each.psnr_db for each in measure_fidelity(encrypted, originals)])
    pairs = zip(encrypted[:, 0].double().numpy(), originals[:, 0].double().numpy(), strict=True)
    return {"psnr_db": round(float(psnr), 3), "haarpsi": round(float(np.mean([haarpsi(*pair) for pair in pairs])), 5)}


def search(difference: Callable[[float], float], start: float, tolerance: float) -> float:
    """The radius at which a difference that falls with it is zero, by the secant method on its logarithm."""
    places = [math.log(1.2 * start), math.log(1.5 * start)]
    values = [difference(math.exp(place)) for place in places]
    for _ in range(MOST_TRIALS):
        if abs(values[-1]) <= tolerance:
            break
        slope = (values[-1] - values[-2]) / (places[-1] - places[-2])
        step = -values[-1] / slope
        places.append(places[-1] + max(-0.5, min(0.5, step)))
        values.append(difference(math.exp(places[-1])))
    else:
        raise RuntimeError(f"no radius found: {values[-1]:.4f} apart after {MOST_TRIALS} trials")
    return math.exp(places[-1])


def victims_of(seed: int, arm: str, train_set: ImageSet, test_set: ImageSet, options: Any) -> dict[str, float]:
    """Accuracy of each victim on real test images after the last epoch."""
    settings = TrainingSettings(epochs=options.epochs, seed=VICTIM_SEED_OFFSET + seed)
    found = {}
    for network in options.victims.split(","):
        job = VictimJob(
            network=network, trained_on=arm, train_set=train_set, test_sets={"orig": test_set}, settings=settings
        )
        found[network] = round(train_victim(job).last["orig"].value, 4)
    return found


def page_of(rows: list[dict[str, Any]], train_set: ImageSet, test_set: ImageSet, options: Any) -> str:
    """The table, A of each seed, and what the rule says."""
    names = options.victims.split(",")
    lines = ["# Regions: all pixels or the body", ""]
    lines += [
        f"{len(train_set)} images for training, {len(test_set)} for testing, {options.size}x{options.size} pixels, "
        f"{options.seeds} seeds. L2 radius of all {options.radius}, basic, {options.steps} augmentation-aware steps; "
        f"base {options.base}, {options.epochs} epochs. Accuracy on real images after the last epoch, in percent: mean "
        "and standard deviation over seeds. The script's docstring is the protocol.",
        "",
    ]
    head = ["trained on", "PSNR dB", "HaarPSI", "energy inside the body"]
    head += [f"{name}, {kind}" for kind in KINDS for name in names] + ["A"]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for arm in ARMS:
        of_arm = [row for row in rows if row["arm"] == arm]
        cells = [arm]
        for name, factor in (("psnr_db", 1), ("haarpsi", 1), ("inside_body", 100)):
            values = [factor * row[name] for row in of_arm if name in row]
            cells.append(f"{np.mean(values):.3g}" if values else "-")
        for kind in KINDS:
            cells += [shown([row["victims"][name] for row in of_arm if row["kind"] == kind]) for name in names]
        lines.append("| " + " | ".join([*cells, shown(highest(rows, arm))]) + " |")
    lines += ["", "| A(all) - A(body), points | mean | standard error | seeds |", "|---|---|---|---|"]
    for arm in ARMS[2:]:
        apart = 100 * (np.array(highest(rows, "all")) - np.array(highest(rows, arm)))
        error = apart.std(ddof=1) / math.sqrt(len(apart)) if len(apart) > 1 else float("nan")
        each = ", ".join(f"{value:+.1f}" for value in apart)
        lines.append(f"| {arm} | {apart.mean():+.1f} | {error:.1f} | {each} |")
    lines += ["", "Software: " + ", ".join(f"{name} {version}" for name, version in software_versions().items())]
    return "\n".join(lines) + "\n"


def highest(rows: list[dict[str, Any]], arm: str) -> list[float]:
    """A of each seed: the highest accuracy over architectures and kinds of victims."""
    seeds = sorted({row["seed"] for row in rows})
    return [
        max(max(row["victims"].values()) for row in rows if row["seed"] == seed and row["arm"] == arm) for seed in seeds
    ]


def shown(values: list[float]) -> str:
    """Mean and standard deviation in percent."""
    spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="class folders of training images")
    parser.add_argument("test", type=Path, help="class folders of test images")
    parser.add_argument("--out", default="results/regions", help="path of the results without suffix")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--radius", type=float, default=0.8, help="L2 radius of all at that size")
    parser.add_argument("--train-images", type=int, default=350, help="of each class")
    parser.add_argument("--test-images", type=int, default=190, help="of each class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--base", default="resnet_small")
    parser.add_argument("--victims", default="vgg_small,preresnet_small")
    return parser.parse_args()


if __name__ == "__main__":
    main()
