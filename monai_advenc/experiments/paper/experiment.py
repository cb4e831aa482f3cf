# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Interface of a table's experiment: its parts, the networks of each part, and the measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from monai_advenc.experiments.paper.laboratory import CLEAN, SIMULATOR_SEED_OFFSET, Laboratory, Wanted
from monai_advenc.experiments.paper.preset import Preset


@dataclass(frozen=True)
class Found:
    """Result of one part.

    Attributes:
        rows: Accuracies as fractions, by row and column.
        facts: Other findings by name.
        images: Number of images behind the accuracies of a column; all test images if the column is missing.
    """

    rows: Mapping[str, Mapping[str, float]]
    facts: Mapping[str, float] = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """One table.

    Attributes:
        number: Its number in the paper.
        parts: Parts that are measured and resumed separately.
        networks: The networks that a part needs for a seed.
        measure: Measures a part for a seed.
    """

    number: int
    parts: Callable[[Preset], Sequence[str]]
    networks: Callable[[Preset, str, int], Sequence[Wanted]]
    measure: Callable[[Laboratory, Preset, str, int], Found]


def simulator_of(preset: Preset, seed: int) -> Wanted:
    """The attacker's network on original images, M2, with another seed than the owner's base network."""
    return Wanted(preset.simulator, CLEAN, seed + SIMULATOR_SEED_OFFSET)
