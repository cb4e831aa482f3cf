# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The paper's attacks: try every target of a class (section 3.4), or every pair of targets (section 4.3)."""

from __future__ import annotations

from itertools import permutations

from monai_advenc.attackers.recovery.guesser import WHOLE_IMAGE, Guesser, Layout, Score, Targets

EVEN_CONCAT = Layout("horizontal-concat", (0.5, 0.5))


def sweep_targets(guesser: Guesser, label: int) -> dict[int, Score]:
    """Score every target for one class of a basic encryption: the rows of table 3."""
    return {target: guesser.score(label, (target,), WHOLE_IMAGE) for target in guesser.choices(label)}


def sweep_pairs(guesser: Guesser, label: int, layout: Layout = EVEN_CONCAT) -> dict[Targets, Score]:
    """Score every ordered pair of different targets for one class of a Horizontal Concat: the rows of table 8."""
    pairs = permutations(guesser.choices(label), 2)
    return {pair: guesser.score(label, pair, layout) for pair in pairs}


def enumerate_targets(guesser: Guesser) -> tuple[Targets, ...]:
    """Recover a basic correspondence in about K x K tries: the target with the best score for each class."""
    sweeps = (sweep_targets(guesser, label) for label in range(guesser.num_classes))
    return tuple((max(scores, key=scores.__getitem__),) for scores in sweeps)


def enumerate_pairs(guesser: Guesser, layout: Layout = EVEN_CONCAT) -> tuple[Targets, ...]:
    """Recover the pairs of a Horizontal Concat in about K x K x K tries, the paper's 1,000."""
    sweeps = (sweep_pairs(guesser, label, layout) for label in range(guesser.num_classes))
    return tuple(max(scores, key=scores.__getitem__) for scores in sweeps)
