# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Decide which recipients a score accuses, against the scores of decoy keys, with a known rate of false accusations.

A decoy is a key that nobody received, drawn like the recipients' keys. For a recipient whose copy played no part in the
leak, the own score and those of the decoys are equally likely in any order. So the share of decoys that score as high
is a p value, whatever the law of the scores.

That p value is exact on average over decoys. Decoys are drawn once, though, and if by chance none of them scores very
high, innocent recipients are accused more often than the level says, in all leaks that are scored against these decoys.
So an accusation is decided by an upper confidence bound of the share that other decoys would have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from monai_advenc.errors import SettingsError

LEVEL: Final = 1e-3
"""Highest probability, for all recipients together, that somebody is accused who had no part in the leak."""

CONFIDENCE: Final = 0.99
"""Share of all draws of decoys for which the level also holds given the decoys that were drawn."""

MOST_DECOYS: Final = 10_000_000
"""To score so many takes hours."""


@dataclass(frozen=True)
class Suspect:
    """How one recipient's key scored.

    Attributes:
        recipient: Public label of the recipient, or the key's public id.
        score: Score of the key; higher fits the leak better.
        p_value: Share of keys that score as high by chance, see :func:`p_value`.
        bound: What that share is at most, whatever decoys were drawn, see :func:`upper_bound`.
        corrected: The bound corrected for the number of recipients, see :func:`holm`.
        accused: Whether ``corrected`` is at most the level.
    """

    recipient: str
    score: float
    p_value: float
    bound: float
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
    return _share(_as_high(score, decoys), len(decoys))


def _share(as_high: int, decoys: int) -> float:
    return (1 + as_high) / (1 + decoys)


def upper_bound(as_high: int, decoys: int) -> float:
    """Compute the one-sided bound of Clopper and Pearson on the share of all keys that score as high.

    Args:
        as_high: Decoys that score as high.
        decoys: Number of decoys M.

    Returns:
        A number in (0, 1]. Let it take a bound of at most ``x`` to accuse. For at least :data:`CONFIDENCE` of all draws
        of decoys, an innocent recipient is then accused with probability at most ``x``, given the decoys.
    """
    return 1.0 if as_high >= decoys else float(betaincinv(as_high + 1, decoys - as_high, CONFIDENCE))


def _as_high(score: float, decoys: NDArray[np.float64]) -> int:
    if not len(decoys) or math.isnan(score) or np.isnan(decoys).any():
        raise SettingsError(f"expected scores of at least one decoy, all of them numbers, got {len(decoys)} decoys")
    return int((decoys >= score).sum())


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
    """Compute how many decoys it takes so that the corrected bound of a recipient can reach ``level``.

    Raises:
        SettingsError: The level is not between 0 and 1, or takes more than :data:`MOST_DECOYS`.
    """
    if not 0 < level < 1:
        raise SettingsError(f"expected a level between 0 and 1, such as {LEVEL}, got {level}")
    # If no decoy scores as high, the bound is 1 - (1 - CONFIDENCE) ** (1 / M).
    exact = math.log(1 - CONFIDENCE) / math.log1p(-level / recipients) if level / recipients > 1e-300 else math.inf
    if exact > MOST_DECOYS:
        raise SettingsError(
            f"level {level:g} takes more than {MOST_DECOYS:,} decoys for {recipients} recipients, which no trace could "
            "score; give a larger level"
        )
    # The same rounding as where it is decided.
    candidates = range(max(1, math.floor(exact) - 1), math.ceil(exact) + 2)
    return next(number for number in candidates if recipients * upper_bound(0, number) <= level)


def beside_level(value: float, level: float, digits: int = 2) -> str:
    """Write a bound with so many digits that it reads above the level, as that is written, only where it is."""
    written = (f"{value:.{number}g}" for number in range(digits, 17))
    fits = (text for text in written if (float(text) > float(f"{level:g}")) == (value > level))
    return next(fits, repr(value))


def accusing_share(level: float, recipients: int, decoys: int) -> float:
    """Compute the share of innocent keys whose score alone would accuse, on average over decoys.

    Args:
        level: Highest probability of accusing anyone innocent.
        recipients: Their number.
        decoys: Number of decoys, at least :func:`least_decoys`.
    """
    as_high = np.arange(int(level / recipients * decoys) + 1)
    bounds = betaincinv(as_high + 1, decoys - as_high, CONFIDENCE)
    return float((recipients * bounds <= level).sum()) / (1 + decoys)


def suspects(scores: Mapping[str, float], decoys: NDArray[np.float64], level: float = LEVEL) -> list[Suspect]:
    """Bound each recipient's p value, correct it for the number of recipients, and decide who is accused.

    An innocent recipient is accused with probability at most ``level`` on average over decoys, and for at least
    :data:`CONFIDENCE` of all draws of decoys also given the decoys.

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
    count = len(decoys)
    as_high = [_as_high(score, decoys) for score in scores.values()]
    bounds = [upper_bound(number, count) for number in as_high]
    rows = zip(scores.items(), as_high, bounds, holm(bounds), strict=True)
    return [
        Suspect(name, score, _share(number, count), bound, corrected, corrected <= level)
        for (name, score), number, bound, corrected in rows
    ]
