# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure what a base network is worth for cases that it was not trained on: later ones, few ones, of another scanner.

Both families, the change in the body, 8-bit files. Fixed before any result:

- *own cases*: 200 images a class, perturbed with the base network that was trained on them.
- *a fifth later*: 160 of these a class and 40 that the network never saw, perturbed with the same network.
- *few, base of their own*: 20 images a class, perturbed with a network that was trained on these alone.
- *few, base of other cases*: the same 20, perturbed with the network of the 200.
- *few, base of phantoms*: the same 20, perturbed with a network trained on slices of phantom brains of as many classes.
- *few, originals* and *originals*: what recipients of the images themselves reach.

Recipients train on each set as it is and are tested on the validation part (one fifth of the training images, cut as in
scripts/measure_strength.py), answers renamed in the best way. The figure is the better of two networks, at the last
and at the best epoch. Rows are appended to a JSON-lines file; a second run measures what is missing.

    python -m scripts.measure_unseen_cases data/train --phantoms phantom-slices --out results/unseen_cases
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.radius import Freedom
from monai_advenc.evaluation.accuracy import measure_accuracy
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.networks.training.error_minimizing import PerturbedImages
from scripts.markdown import markdown_table
from scripts.measure_strength import VALIDATION_SEED, VALIDATION_SHARE, VICTIM_SEED, encrypted, key_of, learn
from scripts.strength_ways import WAYS, Way

OWN, LATER, FEW = 200, 40, 20
"""Images of each class."""

FAMILIES: Final = ("error-minimizing, body", "default, body")
VICTIMS: Final = ("vgg_small", "preresnet_small")
ORIGINALS: Final = ("originals", "few, originals")
CASES: Final = (
    "own cases",
    "a fifth later",
    "few, base of their own",
    "few, base of other cases",
    "few, base of phantoms",
)


class Bench:
    """Images, and the base network of each family, seed and training set, trained when needed."""

    def __init__(self, options: argparse.Namespace) -> None:
        images = load_image_set(find_images(options.train), options.size, gray=True)
        shared, self.real = images.split(VALIDATION_SHARE, VALIDATION_SEED)
        self.options = options
        self.own, self.later, self.few = (
            of_each_class(shared, start, count) for start, count in ((0, OWN), (OWN, LATER), (OWN + LATER, FEW))
        )
        self.mixed = of_each_class(self.own, 0, OWN - LATER).joined(self.later)
        phantoms = find_images(options.phantoms)
        self.phantoms = of_each_class(load_image_set(phantoms, options.size, gray=True), 0, OWN)
        self.base: Callable[[Way, str, int], nn.Module] = cache(self._base)

    def _base(self, way: Way, trained_on: str, seed: int) -> nn.Module:
        images: ImageSet = getattr(self, trained_on)
        key = key_of(way, images, self.options.radius, seed, self.options)
        network = get_network(self.options.base, len(images.classes), 1, self.options.size, seed=seed)
        settings = TrainingSettings(seed=seed).enough_for(len(images))
        if len(images) > len(self.few):
            settings = settings.model_copy(update={"epochs": self.options.base_epochs})
        freedom, own = Freedom(way.region, key.perturbation, full_radius=True), key.error_minimizing
        renewal = None if own is None else PerturbedImages(images, None, own, seed, freedom)
        return train(network, images, None, settings, renewal=renewal).network

    def copy(self, way: Way, cases: str, seed: int) -> tuple[ImageSet, float]:
        """The images to share, and the base network's accuracy on them."""
        images, trained_on = {
            "own cases": (self.own, "own"),
            "a fifth later": (self.mixed, "own"),
            "few, base of their own": (self.few, "few"),
            "few, base of other cases": (self.few, "own"),
            "few, base of phantoms": (self.few, "phantoms"),
        }[cases]
        base = self.base(way, trained_on, seed)
        key = key_of(way, images, self.options.radius, seed, self.options)
        pixels = encrypted(key, base, images, way.region, self.options)
        shared = ImageSet(pixels, images.labels, images.ids, images.classes)
        return shared, measure_accuracy(base, shared).value


def of_each_class(images: ImageSet, start: int, count: int) -> ImageSet:
    """So many images of each class, from the same place in each.

    Raises:
        SystemExit: A class has too few.
    """
    rows = [(images.labels == label).nonzero().flatten()[start : start + count] for label in range(len(images.classes))]
    if min(map(len, rows)) < count:
        raise SystemExit(f"expected {start + count} images of each class, got {start + min(map(len, rows))}")
    return images.subset(torch.cat(rows))


def measure(bench: Bench, family: str, cases: str, seed: int) -> dict[str, Any]:
    """Perturb one set and let recipients learn from it."""
    started = time.process_time()
    row: dict[str, Any] = {"family": family, "cases": cases, "seed": seed, **conditions(bench.options)}
    way = WAYS[family]
    if way is None:
        images = bench.few if cases == "few, originals" else bench.own
    else:
        images, row["base_accuracy_on_them"] = bench.copy(way, cases, seed)
    settings = TrainingSettings(seed=VICTIM_SEED + seed).enough_for(len(images))
    found = {name: learn(name, images, bench.real, settings)[1] for name in VICTIMS}
    return {**row, "images": len(images), "accuracy": found, "cpu_s": round(time.process_time() - started)}


def conditions(options: argparse.Namespace) -> dict[str, Any]:
    """What a row was measured with."""
    return {name: getattr(options, name) for name in ("size", "radius", "steps", "base", "base_epochs")}


def better_of(row: dict[str, Any], epoch: str) -> float:
    """Accuracy of the better network, in percent."""
    return 100 * float(max(each[epoch] for each in row["accuracy"].values()))


def page_of(rows: list[dict[str, Any]]) -> str:
    """Draw the table: mean over seeds, each seed in brackets."""
    lines = ["# Cases that the base network never saw", ""]
    lines += ["Drawn from `unseen_cases.jsonl` by `scripts/measure_unseen_cases.py`, which says what the rows are.", ""]
    lines += ["Accuracy of the better of two networks on real validation images, percent, mean (each seed).", ""]
    table = []
    for family in dict.fromkeys(row["family"] for row in rows):
        for cases in dict.fromkeys(row["cases"] for row in rows if row["family"] == family):
            same = [row for row in rows if (row["family"], row["cases"]) == (family, cases)]
            figures = [[better_of(row, epoch) for row in same] for epoch in ("last", "best")]
            of_base = [100 * row["base_accuracy_on_them"] for row in same if "base_accuracy_on_them" in row]
            table.append(
                [
                    family,
                    cases,
                    str(same[0]["images"]),
                    *(f"{np.mean(each):.1f} ({' '.join(f'{value:.0f}' for value in each)})" for each in figures),
                    f"{np.mean(of_base):.0f}" if of_base else "–",
                ]
            )
    head = ["family", "cases", "images", "last epoch", "best epoch", "base network right on them"]
    return "\n".join([*lines, markdown_table(head, table)]) + "\n"


def main() -> None:
    """Measure what is missing and draw the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="class folders of training images")
    parser.add_argument("--phantoms", type=Path, required=True, help="class folders of slices of phantoms")
    parser.add_argument("--out", default="results/unseen_cases", help="path of the results without suffix")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--radius", type=float, default=0.8, help="L2 radius at that size")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--cases", default=";".join((*ORIGINALS, *CASES)), help="separated by semicolons")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--base", default="resnet_small")
    parser.add_argument("--base-epochs", type=int, default=14)
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = Path(f"{options.out}.jsonl")
    record.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    bench = Bench(options)
    wanted = [("originals", cases) for cases in ORIGINALS] + [(family, cases) for family in FAMILIES for cases in CASES]
    for seed in map(int, options.seeds.split(",")):
        for family, cases in wanted:
            if cases not in options.cases.split(";"):
                continue
            place = {"family": family, "cases": cases, "seed": seed, **conditions(options)}
            if any(place.items() <= row.items() for row in rows):
                continue
            rows.append(measure(bench, family, cases, seed))
            with record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(json.dumps(rows[-1]), flush=True)
    Path(f"{options.out}.md").write_text(page_of(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
