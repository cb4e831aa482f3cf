# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare victims of fast or less exact schedules with victims of the paper's hundred steps.

For each seed: a base network, one key, the training images encrypted once with each schedule (Horizontal Concat), and
victims trained on each from the same seed. So the comparison is paired: same base, same correspondence, same victim.
The radii are larger than the paper's (four times on CIFAR-10, twice for slices), because with the paper's radii such
small sets do not separate the schedules.

    python scripts/evaluate_fast_schedule.py cifar10 DATA --out results/fast_schedule
    python scripts/evaluate_fast_schedule.py slices DATA --out results/fast_schedule
    python scripts/evaluate_fast_schedule.py slices DATA --plain --out results/plain_schedules

Steps are augmentation-aware, as ``slice-and-encrypt`` takes them. With ``--plain`` they are the paper's plain ones, and
the script compares their float32 results with bf16, if the processor has it, and with the adaptive schedule.

Each result is one line of a JSON-lines file, appended at once; a second run measures only missing results. The table is
drawn from that file only.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_advenc.acceleration.prepare import Precision, prepare
from monai_advenc.acceleration.processor import computes_in_bf16
from monai_advenc.data.images.cifar10 import read_cifar10
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.manifest import software_versions
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.evaluation.accuracy import measure_accuracy
from monai_advenc.evaluation.sanity import require_above_chance
from monai_advenc.evaluation.victims import VictimJob, train_victim
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.perturbation.settings import ADAPTIVE_STEPS, FAST_STEPS, PerturbationSettings
from monai_advenc.perturbation.views import Augmentation

VICTIM_SEED_OFFSET = 100
LEVELS = 65535
RADII = {"cifar10": 2.0, "slices": 0.8}
"""L2 radii at which victims of such small sets are misled, to separate the schedules: for CIFAR-10 four times the
paper's (which changes no victim with 1,200 images and a base below 50 %), for slices of 64x64 pixels twice the paper's
change per pixel, as in the ``cpu`` preset."""

MARGIN = 0.02
"""Largest accepted difference of the mean accuracy on originals from that of the paper's schedule."""


AUGMENTATION_AWARE, PLAIN = "paper", "plain fp32"
"""The schedules that others are compared with."""

UNCOMPARED = ("clean", AUGMENTATION_AWARE, PLAIN)


@dataclass(frozen=True)
class Plan:
    """Steps and precision of an encryption."""

    settings: PerturbationSettings
    precision: Precision = "auto"


def augmentation_aware_plans(radius: float, fast_steps: str) -> dict[str, Plan]:
    """The paper's schedule, and fast ones with these numbers of steps, by name."""
    views = {"radius": radius, "augmentation": Augmentation()}
    fast = {
        f"fast {steps}": Plan(
            PerturbationSettings(**views, step_size=2 * radius, steps=int(steps), schedule="fast"),
        )
        for steps in fast_steps.split(",")
    }
    return {AUGMENTATION_AWARE: Plan(PerturbationSettings(**views, step_size=radius / 20, steps=100)), **fast}


def plain_plans(radius: float) -> dict[str, Plan]:
    """The paper's steps in float32 and bf16, and adaptive ones with precision ``auto``.

    Not int8, because such small networks have no int8 chains.
    """
    steps = PerturbationSettings(radius=radius, step_size=radius / 20, steps=100)
    adaptive = PerturbationSettings(radius=radius, step_size=2 * radius, steps=ADAPTIVE_STEPS, schedule="adaptive")
    plans = {PLAIN: Plan(steps, "fp32")}
    if computes_in_bf16(torch.device("cpu")):
        plans["plain bf16"] = Plan(steps, "bf16")
    return plans | {"adaptive": Plan(adaptive)}


def read_images(kind: str, source: Path, train_size: int, test_size: int) -> tuple[ImageSet, ImageSet]:
    """Read training and test images, equally many of each class."""
    if kind == "cifar10":
        images = read_cifar10(source, train_size=train_size, test_size=test_size)
        return images.train, images.test
    train_set = load_image_set(find_images(source / "train"), 64, gray=True)
    test_set = load_image_set(find_images(source / "test", train_set.classes), 64, gray=True)
    return first_of_each_class(train_set, train_size), first_of_each_class(test_set, test_size)


def first_of_each_class(images: ImageSet, size: int) -> ImageSet:
    """Select the first images of each class, equally many of each."""
    share = size // len(images.classes)
    rows = [(images.labels == label).nonzero().flatten()[:share] for label in range(len(images.classes))]
    return images.subset(torch.cat(rows).sort().values)


def measure_seed(
    kind: str, seed: int, images: tuple[ImageSet, ImageSet], done: set[str], options: Any
) -> Iterator[Any]:
    """Measure the missing results of one seed."""
    train_set, test_set = images
    radius = RADII[kind]
    plans = plain_plans(radius) if options.plain else augmentation_aware_plans(radius, options.fast_steps)
    names = {name: f"{kind} {seed} {name}" for name in ("base", "clean", *plans)}
    if set(names.values()) <= done:
        return
    channels, height, width = train_set.images.shape[1:]
    network = get_network("resnet_small", len(train_set.classes), channels, height, seed=seed)
    base = train(network, train_set, None, TrainingSettings(epochs=options.epochs, seed=seed)).network
    accuracy = measure_accuracy(base, test_set)
    require_above_chance(accuracy, "the base network")
    if names["base"] not in done:
        yield {"cell": names["base"], "images": kind, "seed": seed, "base_accuracy": round(accuracy.value, 4)}
    if names["clean"] not in done:
        yield describe(kind, seed, "clean") | victims_of(seed, train_set, {"orig": test_set}, options)
    for name, plan in plans.items():
        if names[name] in done:
            continue
        key = EncryptionKey.draw(train_set.classes, plan.settings, seed=seed)
        prepared = prepare(base, (channels, height, width), precision=plan.precision)
        encrypted = encrypt(key, prepared, train_set)
        test_sets = {"orig": test_set, "enc": encrypt(key, prepared, first_of_each_class(test_set, options.encrypted))}
        yield (
            describe(kind, seed, name)
            | {"precision": prepared.precision}
            | victims_of(seed, encrypted, test_sets, options)
        )


def describe(kind: str, seed: int, name: str) -> dict[str, Any]:
    """Fields that identify a result."""
    return {"cell": f"{kind} {seed} {name}", "images": kind, "seed": seed, "schedule": name}


def encrypt(key: EncryptionKey, network: nn.Module, images: ImageSet) -> ImageSet:
    """Encrypt images on the grid of 16-bit files."""
    pixels = encrypt_batch(key, network, images.images, images.labels, levels=LEVELS)
    return ImageSet(pixels, images.labels, images.ids, images.classes)


def victims_of(seed: int, train_set: ImageSet, test_sets: dict[str, ImageSet], options: Any) -> dict[str, Any]:
    """Accuracies of each victim after its last epoch."""
    found = {}
    for network in options.victims.split(","):
        settings = TrainingSettings(epochs=options.epochs, seed=VICTIM_SEED_OFFSET + seed)
        job = VictimJob(network=network, trained_on="", train_set=train_set, test_sets=test_sets, settings=settings)
        found[network] = {name: round(each.value, 4) for name, each in train_victim(job).last.items()}
    return {"victims": found}


def main() -> None:
    """Measure missing results and draw the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", choices=sorted(RADII))
    parser.add_argument("source", type=Path, help="CIFAR-10, or a folder with train/<class>/ and test/<class>/")
    parser.add_argument("--out", default="results/fast_schedule", help="path of the results without suffix")
    parser.add_argument("--train-size", type=int, default=1200)
    parser.add_argument("--test-size", type=int, default=500)
    parser.add_argument("--encrypted", type=int, default=150, help="test images that are encrypted as well")
    parser.add_argument("--fast-steps", default=str(FAST_STEPS), help="numbers of steps, with commas between them")
    parser.add_argument("--plain", action="store_true", help="plain steps: bf16 and the adaptive schedule")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--victims", default="vgg_small,preresnet_small")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = Path(f"{options.out}.jsonl")
    record.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    images = read_images(options.images, options.source, options.train_size, options.test_size)
    context = {
        "sizes": [len(part) for part in images],
        "encrypted": options.encrypted,
        "epochs": options.epochs,
        "software": software_versions(),
    }
    for seed in (int(seed) for seed in options.seeds.split(",")):
        for row in measure_seed(options.images, seed, images, {row["cell"] for row in rows}, options):
            rows.append(row | context)
            with record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(row["cell"], row.get("victims", row.get("base_accuracy")), flush=True)
    Path(f"{options.out}.md").write_text(draw_tables(rows), encoding="utf-8")


def draw_tables(rows: list[dict[str, Any]]) -> str:
    """Accuracies as mean and standard deviation over seeds, and the paired differences with their standard error."""
    plain = any(row.get("schedule") == PLAIN for row in rows)
    title = "Other arithmetic and adaptive steps" if plain else "The fast schedule"
    lines = [f"# {title} against the paper's", ""]
    steps = "Steps are plain." if plain else "Steps are augmentation-aware, as ``slice-and-encrypt`` takes them."
    lines += [" ".join((__doc__ or "").split("\n\n")[1].split()) + " " + steps, ""]
    lines += [
        "SE: standard error over seeds, whose victims share base, key and images. The mean of three seeds lies within "
        "4.3 of them of what many seeds would come to (95 %), so no row proves that two schedules do not differ.",
        "",
    ]
    for kind in RADII:
        own = [row for row in rows if row["images"] == kind]
        if own:
            lines += [*draw_table(kind, own), ""]
    return "\n".join(lines)


def draw_table(kind: str, rows: list[dict[str, Any]]) -> list[str]:
    """The part of the page on one set of images."""
    train_size, test_size = rows[0]["sizes"]
    bases = [f"{round(row['base_accuracy'] * test_size)}" for row in rows if "base_accuracy" in row]
    by_schedule: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if "victims" in row:
            by_schedule.setdefault(row["schedule"], []).append(row)
    lines = [
        f"## {kind}",
        "",
        f"{train_size} training and {test_size} test images (Enc: {rows[0]['encrypted']} of these), "
        f"L2 radius {RADII[kind]}, base resnet_small (right on {', '.join(bases)} test images), "
        f"{rows[0]['epochs']} epochs, "
        + ", ".join(f"{name} {version}" for name, version in rows[0]["software"].items()),
        "",
        "| schedule | victim | seeds | Enc % | Orig % | Orig minus the paper's, points |",
        "|---|---|---|---|---|---|",
    ]
    compared_with = by_schedule.get(AUGMENTATION_AWARE) or by_schedule.get(PLAIN, [])
    paper = {row["seed"]: row for row in compared_with}
    for name, group in by_schedule.items():
        pairs = [(row, paper[row["seed"]]) for row in group if row["seed"] in paper]
        differences: list[float] = []
        for victim in group[0]["victims"]:
            found = [100 * (row["victims"][victim]["orig"] - other["victims"][victim]["orig"]) for row, other in pairs]
            differences += found
            enc = spread([row["victims"][victim].get("enc") for row in group])
            orig = spread([row["victims"][victim]["orig"] for row in group])
            compared = "-" if name in UNCOMPARED else mean_and_error(found)
            lines.append(f"| {name} | {victim} | {len(group)} | {enc} | {orig} | {compared} |")
        if name not in UNCOMPARED and differences:
            # Victims of one seed share base, key and images, so only seeds are independent.
            by_seed = [statistics.mean(differences[seed :: len(pairs)]) for seed in range(len(pairs))]
            passed = "at most" if abs(statistics.mean(by_seed)) <= 100 * MARGIN else "more than"
            verdict = f"{mean_and_error(by_seed)}: mean {passed} {100 * MARGIN:.0f} points apart"
            lines.append(f"| {name} | all | {len(group)} | | | {verdict} |")
    return lines


def spread(values: list[float | None]) -> str:
    """Mean and standard deviation over seeds, in percent."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    return f"{statistics.mean(known):.1f}" + (f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else "")


def mean_and_error(values: list[float]) -> str:
    """Mean and its standard error."""
    error = f" (SE {statistics.stdev(values) / len(values) ** 0.5:.1f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):+.1f}{error}"


if __name__ == "__main__":
    main()
