# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare victims trained on 8-bit files, on float files, and on naively rounded files.

For each seed the training images are encrypted once with a new key, at the paper's budget per pixel (one base network
for all seeds, unless ``--base-per-seed``). The same encrypted images are then written as float32 NIfTI, as 8-bit PNG,
and as 8-bit PNG rounded naively; the files are read back, and victims with the same seed are trained on each. Rows are
appended to a JSON-lines file as they finish; a second run measures only missing rows. The table is drawn from that file
only.

    python scripts/evaluate_eight_bit.py data/train data/test --out results/eight_bit
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.writing import SLICE_FORMATS, encode_image
from monai_advenc.data.manifest import software_versions
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.paper import MRI_RADIUS, MRI_SIDE
from monai_advenc.encryption.rounding import round_to_grid
from monai_advenc.evaluation.accuracy import measure_accuracy
from monai_advenc.evaluation.sanity import require_above_chance, require_same_images
from monai_advenc.evaluation.victims import VictimJob, train_victim
from monai_advenc.files.json_lines import append_lines, read_lines
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, load_checkpoint, save_checkpoint, train
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation

VICTIM_SEED_OFFSET = 100
ARMS = {"float": ("nifti", None, "fit"), "8-bit": ("png8", 255, "fit"), "8-bit, naive": ("png8", 255, "naive")}


def main() -> None:
    """Measure missing rows and draw the table."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    record = Path(f"{options.out}.jsonl")
    rows = [json.loads(line) for line in read_lines(record)]
    train_set = load_image_set(find_images(options.train), options.size, gray=True)
    train_set = part_of(train_set, options.per_class)
    test_set = load_image_set(find_images(options.test, train_set.classes), options.size, gray=True)

    def keep(row: dict[str, Any]) -> None:
        append_lines(record, [json.dumps(row)])
        rows.append(row)
        print(json.dumps(row), flush=True)

    for seed in map(int, options.seeds.split(",")):
        evaluate_seed(seed, train_set, test_set, options, rows, keep)
        bases = "one for each seed" if options.base_per_seed else "one for all seeds"
        context = {
            "images": f"{len(train_set)} for training ({options.per_class} a class, drawn once), {len(test_set)} for "
            f"testing, classes {', '.join(train_set.classes)}, {options.size}x{options.size} pixels",
            "networks": f"base {options.base} ({bases}), victims {options.victims}, {options.epochs} epochs each, "
            "CPU, the arms of a seed with the same seeds",
            "perturbation": f"{options.combiner}, augmentation-aware, {options.steps} steps of 2.5 radius / "
            f"{options.steps}, radius {radius_at(options.size):.3g} (the paper's budget per pixel)",
            "code": options.code,
            "software": ", ".join(f"{name} {version}" for name, version in software_versions().items()),
        }
        Path(f"{options.out}.md").write_text(draw_table(rows, context), encoding="utf-8")


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="class folders of training images")
    parser.add_argument("test", type=Path, help="class folders of test images")
    parser.add_argument("--out", default="results/eight_bit", help="path of the results without suffix")
    parser.add_argument("--work", type=Path, required=True, help="folder for base networks and encrypted images")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--per-class", type=int, default=300, help="training images of each class")
    parser.add_argument("--combiner", default="basic")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--base", default="resnet_small")
    parser.add_argument("--base-per-seed", action="store_true", help="train a base network for each seed")
    parser.add_argument("--victims", default="vgg_small")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--code", default="as installed", help="commit that is measured, for the record")
    return parser.parse_args()


def radius_at(size: int) -> float:
    """The paper's radius for images of this side: the same root mean square change."""
    return MRI_RADIUS * size / MRI_SIDE


def part_of(images: ImageSet, per_class: int) -> ImageSet:
    """Select the same ``per_class`` images of each class in every run."""
    chosen = []
    for label in range(len(images.classes)):
        members = (images.labels == label).nonzero().flatten()
        chosen.append(members[torch.randperm(len(members), generator=torch.Generator().manual_seed(0))[:per_class]])
    return images.subset(torch.cat(chosen).sort().values)


def evaluate_seed(
    seed: int, train_set: ImageSet, test_set: ImageSet, options: Any, rows: list[dict[str, Any]], keep: Any
) -> None:
    """Measure the missing rows of one seed."""
    victims = options.victims.split(",")
    missing = [
        (arm, victim)
        for arm in ("clean", *ARMS)
        for victim in victims
        if not any((row["seed"], row["arm"], row["victim"]) == (seed, arm, victim) for row in rows)
    ]
    if not missing:
        return
    base, accuracy = base_network(seed, train_set, test_set, options)
    key = draw_key(train_set.classes, seed, options)
    exact = encrypted(seed, key, base, train_set, options) if any(arm != "clean" for arm, _ in missing) else None
    written: dict[str, tuple[ImageSet, dict[str, Any]]] = {}
    for arm, victim in missing:
        if arm == "clean" or exact is None:
            images, facts = train_set, {}
        else:
            if arm not in written:
                written[arm] = through_files(arm, train_set, exact, key, base)
            images, facts = written[arm]
        settings = TrainingSettings(epochs=options.epochs, seed=VICTIM_SEED_OFFSET + seed)
        job = VictimJob(
            network=victim, trained_on=arm, train_set=images, test_sets={"orig": test_set}, settings=settings
        )
        result = train_victim(job)
        row = {"seed": seed, "arm": arm, "victim": victim, "base_accuracy": round(accuracy, 4)}
        keep(row | {"orig": round(result.last["orig"].value, 4), "orig_peak": round(result.peak("orig"), 4)} | facts)


def base_network(seed: int, train_set: ImageSet, test_set: ImageSet, options: Any) -> tuple[nn.Module, float]:
    """The base network of a seed, from the work folder if it exists, and its accuracy on the test images."""
    seed = seed if options.base_per_seed else 0
    path = options.work / f"base-{options.base}-{seed}.pt"
    if not path.exists():
        channels, height, _ = train_set.images.shape[1:]
        network = get_network(options.base, len(train_set.classes), channels, height, seed=seed)
        trained = train(network, train_set, None, TrainingSettings(epochs=options.epochs, seed=seed)).network
        save_checkpoint(path, trained, options.base, train_set.classes, channels, height)
    network = load_checkpoint(path).network
    accuracy = measure_accuracy(network, test_set)
    require_above_chance(accuracy, "the base network")
    return network, accuracy.value


def draw_key(classes: Sequence[str], seed: int, options: Any) -> EncryptionKey:
    """The key of a seed, at the paper's budget per pixel."""
    radius = radius_at(options.size)
    settings = PerturbationSettings(
        radius=radius, step_size=2.5 * radius / options.steps, steps=options.steps, augmentation=Augmentation()
    )
    return EncryptionKey.draw(classes, settings, combiner=options.combiner, seed=seed)


def encrypted(seed: int, key: EncryptionKey, base: nn.Module, images: ImageSet, options: Any) -> Tensor:
    """The encrypted images in float32, from the work folder if they exist."""
    path = options.work / f"encrypted-{seed}.npy"
    if not path.exists():
        channels, height, width = images.images.shape[1:]
        found = encrypt_batch(key, prepare(base, (channels, height, width)), images.images, images.labels)
        np.save(path, found.numpy())
    return torch.from_numpy(np.load(path))


def through_files(
    arm: str, originals: ImageSet, exact: Tensor, key: EncryptionKey, base: nn.Module
) -> tuple[ImageSet, dict[str, Any]]:
    """Round, write and read back; return the images, their budget and the base network's loss toward the targets."""
    file_format, levels, rounding = ARMS[arm]
    settings = key.perturbation
    rounded = round_to_grid(exact, originals.images, levels=levels, radius=settings.radius, rounding=rounding)
    with tempfile.TemporaryDirectory() as folder:
        for name, label, image in zip(originals.ids, originals.labels.tolist(), rounded, strict=True):
            path = Path(folder) / originals.classes[label] / f"{name}{SLICE_FORMATS[file_format]}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encode_image(image, file_format))
        read = load_image_set(find_images(Path(folder), originals.classes)).with_ids(originals.ids)
    require_same_images(read, originals, "images")
    fidelity = measure_fidelity(read.images, originals.images)
    return read, {
        "target_loss": round(target_loss(base, read, key), 5),
        "psnr_db": round(float(np.mean([each.psnr_db for each in fidelity])), 3),
        "l2_max": max(each.l2 for each in fidelity),
        "radius": settings.radius,
    }


@torch.no_grad()
def target_loss(base: nn.Module, images: ImageSet, key: EncryptionKey) -> float:
    """The base network's mean cross entropy toward the targets."""
    targets = key.correspondence.targets_of(images.labels)
    logits = torch.cat([base(part) for part in images.images.split(64)])
    return float(np.mean([functional.cross_entropy(logits, column).item() for column in targets.T]))


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else np.nan


def draw_table(rows: list[dict[str, Any]], context: dict[str, str]) -> str:
    """Means with standard errors over seeds, and paired differences from the float arm, as Markdown."""
    lines = ["# 8-bit files against float files", ""]
    lines += [f"- {name}: {text}" for name, text in context.items()]
    bases = dict.fromkeys(row["base_accuracy"] for row in sorted(rows, key=lambda row: row["seed"]))
    lines += [f"- base, right on real test images: {', '.join(f'{value:.1%}' for value in bases)}", ""]
    lines += ["Percent right on real test images (Orig), mean ± standard error over seeds; differences are paired."]
    lines += ["", "| victim | trained on | seeds | Orig | minus float | Orig, best epoch | target loss | of float's |"]
    lines[-1] += " PSNR dB | longest change / radius |"
    lines += ["|" + "---|" * 10]
    for victim in dict.fromkeys(row["victim"] for row in rows):
        by_arm = {
            arm: {row["seed"]: row for row in rows if (row["victim"], row["arm"]) == (victim, arm)}
            for arm in ("clean", *ARMS)
        }
        for arm, found in by_arm.items():
            if found:
                lines.append("| " + " | ".join(_cells(victim, arm, found, by_arm["float"])) + " |")
    return "\n".join(lines) + "\n"


def _cells(victim: str, arm: str, found: dict[int, Any], floats: dict[int, Any]) -> list[str]:
    orig = mean_and_error([100 * row["orig"] for row in found.values()])
    peak = mean_and_error([100 * row["orig_peak"] for row in found.values()])
    cells = [victim, arm, str(len(found)), f"{orig[0]:.1f} ± {orig[1]:.1f}"]
    pairs = [(row, floats[seed]) for seed, row in found.items() if seed in floats]
    if arm == "clean" or not pairs:
        return [*cells, "-", f"{peak[0]:.1f} ± {peak[1]:.1f}", "-", "-", "-", "-"]
    apart = mean_and_error([100 * (row["orig"] - other["orig"]) for row, other in pairs])
    loss = float(np.mean([row["target_loss"] for row in found.values()]))
    ratio = [row["target_loss"] / other["target_loss"] - 1 for row, other in pairs]
    psnr = float(np.mean([row["psnr_db"] for row in found.values()]))
    longest = max(row["l2_max"] / row["radius"] for row in found.values())
    cells += ["-" if arm == "float" else f"{apart[0]:+.1f} ± {apart[1]:.1f}", f"{peak[0]:.1f} ± {peak[1]:.1f}"]
    cells += [f"{loss:.3f}", "-" if arm == "float" else f"{np.mean(ratio):+.1%}", f"{psnr:.2f}", f"{longest:.5f}"]
    return cells


if __name__ == "__main__":
    main()
