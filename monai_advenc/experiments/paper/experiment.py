# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What a table is to the one who runs it: parts, the networks each needs, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from monai_advenc.experiments.paper.laboratory import CLEAN, SIMULATOR_SEED_OFFSET, Laboratory, Wanted
from monai_advenc.experiments.paper.preset import Preset


@dataclass(frozen=True)
class Found:
    """What one part came to.

    Attributes:
        rows: Accuracies as fractions, by row and column.
        facts: Other findings by name.
        images: How many images the accuracies of a column are shares of; of all test images where it is not named.
    """

    rows: Mapping[str, Mapping[str, float]]
    facts: Mapping[str, float] = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """One table.

    Attributes:
        number: Its number in the paper.
        parts: What is measured at once, and resumed if missing.
        networks: The networks that a part needs for a seed.
        measure: Measures a part for a seed.
    """

    number: int
    parts: Callable[[Preset], Sequence[str]]
    networks: Callable[[Preset, str, int], Sequence[Wanted]]
    measure: Callable[[Laboratory, Preset, str, int], Found]


def simulator_of(preset: Preset, seed: int) -> Wanted:
    """The attacker's own network on original images, M2: from another seed than the owner's base network."""
    return Wanted(preset.simulator, CLEAN, seed + SIMULATOR_SEED_OFFSET)
