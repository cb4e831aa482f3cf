# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The models that ``scripts/trace_models.py`` asks, and the data sets on which it asks none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scripts.traced_models_page import RADIUS, decoys

FIRST, SECOND = "vgg_small", "preresnet_small"
KEYS, OTHER_KEYS = ((2, 0), (1, 0), (2, 1)), ((2, 2), (1, 1), (2, 3))
"""Targets of a class of each key, and its number. Better statistics were sought with the former keys, and tried with
the latter."""

PAPER_RADIUS = 0.5
"""L2 radius of a few copies. It hardly misleads networks that have so few images; most models get twice of it."""


@dataclass(frozen=True)
class Cell:
    """A model to ask.

    Attributes:
        classes: Number of classes.
        radius: L2 radius of the copies.
        copy: Targets of a class of the key whose copy it learned from, and the key's number; ``None``: innocent.
        way: How it was trained.
        network: Its architecture.
        seed: Seed of its training.
    """

    classes: int
    radius: float
    copy: tuple[int, int] | None
    way: str
    network: str
    seed: int

    @property
    def name(self) -> str:
        """Its name in the results."""
        key = "-" if self.copy is None else f"{self.copy[0]}.{self.copy[1]}"
        return f"{self.classes} classes, radius {self.radius:g}, key {key}, {self.way}, {self.network} {self.seed}"


def cells() -> Iterator[Cell]:
    """All models, the most telling first."""

    def of_keys(way: str, network: str, seed: int, keys: Sequence[tuple[int, int]] = KEYS) -> Iterator[Cell]:
        return (Cell(10, RADIUS, key, way, network, seed + number) for number, key in enumerate(keys))

    for network, seed in ((FIRST, 100), (SECOND, 200)):
        for way in ("usual", "fine-tuned", "JPEG 75"):
            yield from of_keys(way, network, seed)
        yield from (Cell(10, RADIUS, None, "originals", network, seed + number) for number in range(3))
        yield from (Cell(10, RADIUS, None, "other images", network, seed + number) for number in range(2))
    for network, seed in ((FIRST, 400), (SECOND, 500)):
        for way in ("usual", "fine-tuned"):
            yield from of_keys(way, network, seed, OTHER_KEYS)
    some, other = (FIRST, 600), (SECOND, 700)
    for (network, seed), *ways in (
        (some, "5 % copy", "adversarial", "25 % copy", "50 % copy"),
        (other, "5 % copy", "25 % copy", "50 % copy"),
        (some, "95 % copy"),
        (other, "95 % copy", "adversarial"),
        (some, "10 % copy"),
        (other, "10 % copy"),
    ):
        for way in ways:
            yield from of_keys(way, network, seed)
    yield from (Cell(10, PAPER_RADIUS, key, "usual", FIRST, 100 + number) for number, key in enumerate(KEYS[:2]))
    yield from (
        Cell(5, RADIUS, (2, 0), way, FIRST, seed) for way in ("usual", "fine-tuned") for seed in (300, 301, 302)
    )
    for network, seed in ((FIRST, 400), (SECOND, 500)):
        yield from of_keys("JPEG 75", network, seed, OTHER_KEYS)


def too_few() -> Iterator[dict[str, Any]]:
    """Data sets on which nobody can be named, with the lowest p value that any answers could give."""
    for data, classes in (("phantoms", 5), ("slices of brain tumors", 3)):
        for targets in (2, 1):
            # All keys are among so many decoys; those that differ in the order of targets only are read alike.
            keys = np.unique(decoys(classes, targets), axis=0)
            readable, counts = np.unique(np.sort(keys, axis=2), axis=0, return_counts=True)
            yield {
                "cell": f"{data}, {classes} classes, targets a class: {targets}",
                "data": data,
                "classes": classes,
                "targets_a_class": targets,
                "readable_keys": len(readable),
                "least_p": round(float(counts.min() / len(keys)), 4),
                "not_measured": "no answers could name a recipient at this level",
            }
