# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The separable attack: guess combined methods one slot at a time, so that tries add up instead of multiplying.

In the paper's table 8, nearly every pair with one true target in its place scores above the pairs with none. A slot can
therefore be guessed while the other slots are unperturbed: N slots of K classes cost N x K tries per class, while
enumeration costs K to the N. With an unknown layout, a perturbation of the whole image still raises the score if its
target is among the class's targets: K tries per class for any combiner. All these attacks assume that the attacker
knows the number of targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from scipy.optimize import linear_sum_assignment

from monai_advenc.attackers.recovery.enumeration import sweep
from monai_advenc.attackers.recovery.guesser import Guesser, Layout, Targets


def recover_by_slot(guesser: Guesser, layout: Layout, num_targets: int) -> tuple[Targets, ...]:
    """Guess each slot of each class with the others unperturbed, then choose the best set of different targets.

    Args:
        guesser: Scores guesses.
        layout: How versions are joined, known or guessed.
        num_targets: Slots of the layout.

    Returns:
        For each class a target for each slot.
    """
    return tuple(_best_slots(guesser, label, layout, num_targets) for label in range(guesser.num_classes))


def recover_without_layout(guesser: Guesser, num_targets: int) -> tuple[Targets, ...]:
    """Guess the targets of each class: those with the best scores when the whole image is perturbed.

    Args:
        guesser: Scores guesses.
        num_targets: Number of targets of each class.

    Returns:
        The targets of each class, the best first; their slots are unknown.
    """
    found = []
    for label in range(guesser.num_classes):
        scores = sweep(guesser, label)
        best_first = sorted(scores, key=scores.__getitem__, reverse=True)
        found.append(tuple(target for (target,) in best_first[:num_targets]))
    return tuple(found)


def refine(guesser: Guesser, guess: Sequence[Targets], layout: Layout) -> tuple[Targets, ...]:
    """Guess each slot again with the others as guessed, and keep the best score (coordinate ascent).

    It costs another N x K tries per class, and can correct a slot whose separate effect was too weak.
    """
    refined = []
    for label, targets in enumerate(guess):
        best = targets
        for slot in range(len(targets)):
            choices = [_with_target(best, slot, target) for target in guesser.choices(label)]
            best = max(choices, key=lambda choice: guesser.score(label, choice, layout))
        refined.append(best)
    return tuple(refined)


def _with_target(targets: Targets, slot: int, target: int) -> Targets:
    """Put ``target`` into ``slot``; if another slot had it, exchange the two."""
    swapped = list(targets)
    if target in targets:
        swapped[targets.index(target)] = targets[slot]
    swapped[slot] = target
    return tuple(swapped)


def recover_ratio(guesser: Guesser, guess: Sequence[Targets], layouts: Sequence[Layout]) -> Layout:
    """Find the layout with the best score, given the targets: one try per layout (the rows of table 5)."""
    by_class = dict(enumerate(guess))
    return max(layouts, key=lambda layout: guesser.overall(by_class, layout))


def recover_without_ratio(guesser: Guesser, layouts: Sequence[Layout], num_targets: int) -> tuple[Targets, ...]:
    """Guess the targets as for an unknown layout, then the layout and the order, then each slot again.

    Args:
        guesser: Scores guesses.
        layouts: Candidate layouts of one combiner with different ratios.
        num_targets: Slots of the layouts.

    Returns:
        For each class a target for each slot.
    """
    found = recover_without_layout(guesser, num_targets)
    guesses = {
        layout: tuple(
            max(permutations(targets), key=lambda order: guesser.score(label, order, layout))
            for label, targets in enumerate(found)
        )
        for layout in layouts
    }
    best = max(layouts, key=lambda layout: guesser.overall(dict(enumerate(guesses[layout])), layout))
    return refine(guesser, guesses[best], best)


def _best_slots(guesser: Guesser, label: int, layout: Layout, num_targets: int) -> Targets:
    choices = guesser.choices(label)
    gain = np.zeros((num_targets, len(choices)))
    for slot in range(num_targets):
        for column, target in enumerate(choices):
            alone = tuple(target if place == slot else None for place in range(num_targets))
            # The likelihoods of the slots are summed, because accuracies saturate.
            gain[slot, column] = guesser.score(label, alone, layout).likelihood
    _, columns = linear_sum_assignment(gain, maximize=True)
    return tuple(choices[column] for column in columns)
