# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The paper's attacks: try every target of a class (section 3.4), or every pair of targets (section 4.3)."""

from __future__ import annotations

from itertools import permutations

from monai_advenc.attackers.recovery.guesser import WHOLE_IMAGE, Guesser, Layout, Score, Targets

EVEN_CONCAT = Layout("horizontal-concat", (0.5, 0.5))


def sweep(guesser: Guesser, label: int, layout: Layout = WHOLE_IMAGE, num_targets: int = 1) -> dict[Targets, Score]:
    """Score every ordered choice of different targets for one class: the rows of table 3, with two targets table 8."""
    choices = permutations(guesser.choices(label), num_targets)
    return {targets: guesser.score(label, targets, layout) for targets in choices}


def enumerate_key(guesser: Guesser, layout: Layout = WHOLE_IMAGE, num_targets: int = 1) -> tuple[Targets, ...]:
    """Recover the targets with the best score for each class.

    Of K classes, one target takes about K x K tries, a pair about K x K x K, the paper's 1,000.
    """
    sweeps = (sweep(guesser, label, layout, num_targets) for label in range(guesser.num_classes))
    return tuple(max(scores, key=scores.__getitem__) for scores in sweeps)
