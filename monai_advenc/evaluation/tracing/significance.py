# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Decide which recipients a score accuses, against the scores of decoy keys, with a known rate of false accusations.

A decoy is a key that nobody received, drawn like the recipients' keys. For a recipient whose copy played no part in the
leak, the own score and those of the decoys are equally likely in any order. So the share of decoys that score as high
is a p value, whatever the law of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monai_advenc.errors import SettingsError

LEVEL: Final = 1e-3
"""Highest probability, for all recipients together, that somebody is accused who had no part in the leak."""

MOST_DECOYS: Final = 10_000_000
"""To score so many takes hours."""


@dataclass(frozen=True)
class Suspect:
    """How one recipient's key scored.

    Attributes:
        recipient: Public label of the recipient, or the key's public id.
        score: Score of the key; higher fits the leak better.
        p_value: Share of keys that score as high by chance, see :func:`p_value`.
        corrected: The p value corrected for the number of recipients, see :func:`holm`.
        accused: Whether ``corrected`` is at most the level.
    """

    recipient: str
    score: float
    p_value: float
    corrected: float
    accused: bool


def p_value(score: float, decoys: NDArray[np.float64]) -> float:
    """Compute ``(1 + decoys that score as high) / (1 + decoys)``; ties count against the accusation.

    Args:
        score: Score of a recipient's key.
        decoys: Scores ``(M,)`` of decoy keys on the same leak.

    Returns:
        A number in (0, 1]. For a recipient without part in the leak it is at most ``x`` with probability at most ``x``.

    Raises:
        SettingsError: There are no decoys, or a score is not a number.
    """
    if not len(decoys) or math.isnan(score) or np.isnan(decoys).any():
        raise SettingsError(f"expected scores of at least one decoy, all of them numbers, got {len(decoys)} decoys")
    return (1 + int((decoys >= score).sum())) / (1 + len(decoys))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number by Holm's step-down method, which needs no independence.

    Args:
        p_values: One for each recipient.

    Returns:
        Corrected p values in the same order: accusing whoever is at most at ``level`` accuses any innocent recipient
        with probability at most ``level``.
    """
    corrected, highest = [1.0] * len(p_values), 0.0
    for place, row in enumerate(sorted(range(len(p_values)), key=lambda row: p_values[row])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[row]))
        corrected[row] = highest
    return corrected


def least_decoys(level: float, recipients: int) -> int:
    """Compute how many decoys a recipient's p value needs so that the corrected one can reach ``level``.

    Raises:
        SettingsError: The level is not between 0 and 1, or takes more than :data:`MOST_DECOYS`.
    """
    if not 0 < level < 1:
        raise SettingsError(f"expected a level between 0 and 1, such as {LEVEL}, got {level}")
    if recipients > level * MOST_DECOYS:
        raise SettingsError(
            f"level {level:g} takes more than {MOST_DECOYS:,} decoys for {recipients} recipients, which no trace could "
            "score; give a larger level"
        )
    # A hair less, because a product like 20 / 1e-3 may come out above the whole number that it is.
    return max(1, math.ceil(recipients / level * (1 - 1e-12)) - 1)


def suspects(scores: Mapping[str, float], decoys: NDArray[np.float64], level: float = LEVEL) -> list[Suspect]:
    """Compute each recipient's p value, correct it for the number of recipients, and decide who is accused.

    Args:
        scores: Score of each recipient's key.
        decoys: Scores ``(M,)`` of decoy keys, by the same statistic on the same leak.
        level: Highest probability of accusing anyone innocent.

    Returns:
        One entry for each recipient, in the order of ``scores``.

    Raises:
        SettingsError: There are fewer decoys than :func:`least_decoys`, so that nobody could be accused.
    """
    needed = least_decoys(level, len(scores))
    if len(decoys) < needed:
        raise SettingsError(
            f"expected at least {needed} decoys for {len(scores)} recipients at level {level:g}, got {len(decoys)}; "
            "give more decoys"
        )
    values = [p_value(score, decoys) for score in scores.values()]
    rows = zip(scores.items(), values, holm(values), strict=True)
    return [Suspect(name, score, value, corrected, corrected <= level) for (name, score), value, corrected in rows]
