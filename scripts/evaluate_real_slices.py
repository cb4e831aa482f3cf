# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure victims on real image slices: a table over combiners, steps, radii, bit depths and seeds.

Each seed trains a base network and victims. Each cell encrypts the training and the test images with a new key, writes
them as PNG, reads the files back, and trains victims on them. Cells are appended to a JSON-lines file as they finish; a
second run measures only missing cells. The table is drawn from that file only.

    python scripts/evaluate_real_slices.py data/train data/test --out results/real_slices
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.writing import encode_image
from monai_advenc.data.manifest import software_versions
from monai_advenc.encryption.correspondence import count_correspondences
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import FEW_CLASSES
from monai_advenc.encryption.rounding import round_to_grid
from monai_advenc.evaluation.accuracy import measure_accuracy
from monai_advenc.evaluation.sanity import require_above_chance, require_same_images
from monai_advenc.evaluation.victims import VictimJob, train_victim
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from monai_advenc.workers import map_in_workers

VICTIM_SEED_OFFSET = 100
FORMATS = {16: ("png16", 65535), 8: ("png8", 255)}


@dataclass(frozen=True)
class Cell:
    """One encryption of the data set; a combiner of ``None`` stands for the originals."""

    seed: int
    combiner: str | None
    augmentation_aware: bool
    radius: float

    @property
    def name(self) -> str:
        """Name of the cell in the results."""
        if self.combiner is None:
            return f"{self.seed} clean"
        return f"{self.seed} {self.combiner} {'aug' if self.augmentation_aware else 'plain'} {self.radius:g}"


class Evaluation:
    """Encrypts the data set with the settings of a cell, and trains victims on it."""

    def __init__(self, bases: dict[int, nn.Module], train_set: ImageSet, test_set: ImageSet, options: Any) -> None:
        self.bases, self.options = bases, options
        self.train_set, self.test_set = train_set, test_set

    def of_cell(self, cell: Cell) -> list[dict[str, Any]]:
        """Encrypt and evaluate one cell."""
        if cell.combiner is None:
            return [self._victims(cell, self.train_set, {"orig": self.test_set})]
        exact = {name: self._encrypt(cell, images) for name, images in self._originals().items()}
        rows = []
        for bits, (file_format, levels) in FORMATS.items():
            written = {
                name: self._through_files(images, exact[name], cell.radius, file_format, levels)
                for name, images in self._originals().items()
            }
            fidelity = measure_fidelity(written["train"].images, self.train_set.images)
            row = self._victims(cell, written["train"], {"orig": self.test_set, "enc": written["test"]})
            row |= {
                "bits": bits,
                "psnr_db": round(float(np.mean([each.psnr_db for each in fidelity])), 2),
                "ssim": round(float(np.mean([each.ssim for each in fidelity])), 4),
                "l2_max": round(max(each.l2 for each in fidelity), 5),
            }
            rows.append(row)
        return rows

    def _originals(self) -> dict[str, ImageSet]:
        return {"train": self.train_set, "test": self.test_set}

    def _encrypt(self, cell: Cell, images: ImageSet) -> torch.Tensor:
        steps = self.options.steps
        settings = PerturbationSettings(
            radius=cell.radius,
            step_size=2.5 * cell.radius / steps,
            steps=steps,
            augmentation=Augmentation() if cell.augmentation_aware else None,
        )
        key = EncryptionKey.draw(images.classes, settings, combiner=cell.combiner or "basic", seed=cell.seed)
        channels, height, width = images.images.shape[1:]
        network = prepare(self.bases[cell.seed], (channels, height, width))
        return encrypt_batch(key, network, images.images, images.labels)

    def _through_files(
        self, originals: ImageSet, exact: torch.Tensor, radius: float, file_format: str, levels: int
    ) -> ImageSet:
        rounded = round_to_grid(exact, originals.images, levels=levels, radius=radius)
        with tempfile.TemporaryDirectory() as folder:
            for name, label, image in zip(originals.ids, originals.labels.tolist(), rounded, strict=True):
                path = Path(folder) / originals.classes[label] / f"{name}.png"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(encode_image(image, file_format))
            read = load_image_set(find_images(Path(folder), originals.classes)).with_ids(originals.ids)
        require_same_images(read, originals, "images")
        return read

    def _victims(self, cell: Cell, train_set: ImageSet, test_sets: dict[str, ImageSet]) -> dict[str, Any]:
        row: dict[str, Any] = {"cell": cell.name, "seed": cell.seed, "combiner": cell.combiner, "radius": cell.radius}
        row |= {"steps": "augmentation-aware" if cell.augmentation_aware else "plain", "bits": None, "victims": {}}
        for network in self.options.victims.split(","):
            settings = TrainingSettings(epochs=self.options.epochs, seed=VICTIM_SEED_OFFSET + cell.seed)
            job = VictimJob(
                network=network, trained_on=cell.name, train_set=train_set, test_sets=test_sets, settings=settings
            )
            result = train_victim(job)
            if cell.combiner is None:
                require_above_chance(result.last["orig"], f"the clean-trained {network}")
            row["victims"][network] = {
                name: {"last": round(accuracy.value, 4), "peak": round(result.peak(name), 4)}
                for name, accuracy in result.last.items()
            }
        return row


def main() -> None:
    """Measure missing cells and draw the table."""
    options = parse_options()
    record = Path(f"{options.out}.jsonl")
    record.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    done = {row["cell"] for row in rows}
    train_set = load_image_set(find_images(options.train), options.size, gray=True)
    test_set = load_image_set(find_images(options.test, train_set.classes), options.size, gray=True)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    radii = [float(radius) for radius in options.radii.split(",")]
    grid = product(seeds, options.combiners.split(","), (False, True), radii)
    cells = [Cell(seed, None, False, 0) for seed in seeds] + [Cell(*place) for place in grid]
    # Radius by radius in the given order, so that an interrupted run leaves whole columns of seeds.
    cells = sorted((c for c in cells if c.name not in done), key=lambda c: radii.index(c.radius) if c.combiner else -1)
    bases = {}
    for seed in sorted({cell.seed for cell in cells}):
        bases[seed], accuracy = train_base(train_set, test_set, seed, options)
        base_row = {"cell": f"{seed} base", "seed": seed, "base_accuracy": round(accuracy, 4)}
        if base_row["cell"] not in done:
            append(record, [base_row], rows)
    evaluation = Evaluation(bases, train_set, test_set, options)
    for found in map_in_workers(evaluation.of_cell, cells, options.workers):
        append(record, found, rows)
        print(found[0]["cell"], {name: each["orig"]["last"] for name, each in found[0]["victims"].items()}, flush=True)
    context = {
        "images": f"{len(train_set)} for training, {len(test_set)} for testing, "
        f"classes {', '.join(train_set.classes)}, {options.size}x{options.size} pixels",
        "networks": f"base {options.base}, victims {options.victims}, {options.epochs} epochs each",
        "perturbation": f"{options.steps} steps of 2.5 radius / {options.steps}, seeds {options.seeds}",
        "keys": describe_keys(train_set, seeds, options),
        "near neighbors": f"naming the class of the training image that is most alike, pixel by pixel, is right on "
        f"{nearest_neighbor_accuracy(train_set, test_set):.1%} of the test images: nothing says which slices are of "
        "one patient, and all accuracies here are optimistic",
        "software": ", ".join(f"{name} {version}" for name, version in software_versions().items()),
    }
    Path(f"{options.out}.md").write_text(draw_table(rows, context, options.victims.split(",")), encoding="utf-8")


def describe_keys(images: ImageSet, seeds: list[int], options: Any) -> str:
    """Number of different correspondences of the seeds, out of all possible ones."""
    told = []
    for combiner in options.combiners.split(","):
        steps = PerturbationSettings(radius=1, step_size=1, steps=1)
        keys = [EncryptionKey.draw(images.classes, steps, combiner=combiner, seed=seed) for seed in seeds]
        found = len({key.correspondence.targets for key in keys})
        # Counted by listing them, which works only for few classes, where the number matters.
        few = len(images.classes) <= FEW_CLASSES
        there = count_correspondences(len(images.classes), keys[0].correspondence.num_targets) if few else "many"
        told.append(f"{combiner}: {found} different correspondences of the {there} that there are")
    return "; ".join(told)


def nearest_neighbor_accuracy(train_set: ImageSet, test_set: ImageSet) -> float:
    """Accuracy of predicting the class of the training image with the highest correlation."""
    directions = []
    for images in (train_set, test_set):
        pixels = images.images.flatten(1)
        pixels = pixels - pixels.mean(dim=1, keepdim=True)
        directions.append(pixels / pixels.norm(dim=1, keepdim=True))
    nearest = (directions[1] @ directions[0].T).argmax(dim=1)
    return float((train_set.labels[nearest] == test_set.labels).float().mean())


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="class folders of training images")
    parser.add_argument("test", type=Path, help="class folders of test images")
    parser.add_argument("--out", default="results/real_slices", help="path of the results without suffix")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--radii", default="0.8,0.4", help="L2 radii at that size")
    parser.add_argument("--combiners", default="basic,horizontal-concat")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--base", default="resnet_small")
    parser.add_argument("--victims", default="vgg_small,preresnet_small")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def train_base(train_set: ImageSet, test_set: ImageSet, seed: int, options: Any) -> tuple[nn.Module, float]:
    """Train a base network; return it with its accuracy on the test images."""
    channels, height, _ = train_set.images.shape[1:]
    network = get_network(options.base, len(train_set.classes), channels, height, seed=seed)
    trained = train(network, train_set, None, TrainingSettings(epochs=options.epochs, seed=seed)).network
    accuracy = measure_accuracy(trained, test_set)
    require_above_chance(accuracy, "the base network")
    return trained, accuracy.value


def append(record: Path, found: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    """Append results and sync them to disk."""
    rows += found
    with record.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in found)


def draw_table(rows: list[dict[str, Any]], context: dict[str, str], victims: list[str]) -> str:
    """Mean and standard deviation over seeds as Markdown; accuracies in percent, after the last epoch."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if "victims" in row:
            groups.setdefault((row["radius"], row["combiner"], row["steps"], row["bits"]), []).append(row)

    def show(group: list[dict[str, Any]], pick: Callable[[dict[str, Any]], float]) -> str:
        values = [100 * pick(row) for row in group]
        spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        return f"{np.mean(values):.1f}{spread}"

    head = ["radius", "PSNR dB", "SSIM", "combiner", "steps", "file"]
    head += [f"{name} {column}" for name in victims for column in ("Enc", "Orig", "Orig peak")]
    lines = ["# Encryption of real slices", ""]
    lines += [f"- {name}: {text}" for name, text in context.items()]
    bases = [row["base_accuracy"] for row in rows if "base_accuracy" in row]
    lines += [
        f"- base network on test images: {100 * np.mean(bases):.1f} % ({', '.join(f'{b:.1%}' for b in bases)})",
        "",
    ]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for (radius, combiner, steps, bits), group in sorted(groups.items(), key=lambda item: str(item[0])):
        cells = ["-", "-", "-", "clean", "-", "-"]
        if combiner is not None:
            psnr, ssim = (np.mean([row[name] for row in group]) for name in ("psnr_db", "ssim"))
            cells = [f"{radius:g}", f"{psnr:.1f}", f"{ssim:.3f}", combiner, steps, f"{bits}-bit"]
        for name in victims:
            for test_set, value in (("enc", "last"), ("orig", "last"), ("orig", "peak")):
                known = test_set in group[0]["victims"][name]
                cells.append(
                    show(group, lambda r, n=name, t=test_set, v=value: r["victims"][n][t][v]) if known else "-"
                )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
