# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Agreement of readings beyond chance: Cohen's kappa for two readings, Fleiss' kappa for several readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.inter_rater import aggregate_raters, cohens_kappa, fleiss_kappa

_RESAMPLES = 1000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Agreement:
    """Agreement of readings on some cases.

    Attributes:
        cases: Number of cases.
        agreed: Share of cases with the same answer in all readings.
        kappa: Agreement beyond chance: 1 is full, 0 is chance level; ``None`` if all readings named one class.
        interval: 95 % interval; ``None`` if it is undefined or all cases are alike, which says nothing about others.
    """

    cases: int
    agreed: float
    kappa: float | None
    interval: tuple[float, float] | None


def cohen_agreement(pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> Agreement:
    """Cohen's kappa of two readings of each case (1960); interval by Fleiss, Cohen and Everitt (1969).

    Args:
        pairs: The two readings of each case; at least one case.
        classes: All classes.
    """
    agreed = sum(one == other for one, other in pairs) / len(pairs)
    if len({name for pair in pairs for name in pair}) == 1:
        return Agreement(len(pairs), agreed, None, None)
    # Rounding can make a variance of zero negative; there is no interval then.
    with np.errstate(invalid="ignore"):
        result = cohens_kappa(_table(pairs, classes))
        low, high = float(result.kappa_low), float(result.kappa_upp)
    return Agreement(len(pairs), agreed, float(result.kappa), _interval(low, high))


def pooled_cohen_agreement(pairs: Sequence[Sequence[tuple[str, str]]], classes: Sequence[str]) -> Agreement:
    """Cohen's kappa over several readers with two readings of each case; interval by resampling cases.

    Args:
        pairs: For each case, the two readings of each reader who read it twice.
        classes: All classes.
    """
    flat = cohen_agreement([pair for case in pairs for pair in case], classes)
    tables = np.array([_table(case, classes) for case in pairs])
    return replace(flat, interval=_resampled(flat.kappa, tables, _cohen))


def _table(pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> NDArray[np.float64]:
    """Number of pairs by the class of their first and of their second reading."""
    table = np.zeros((len(classes), len(classes)))
    for one, other in pairs:
        table[classes.index(one), classes.index(other)] += 1
    return table


def _cohen(tables: NDArray[np.float64]) -> float | None:
    shares = tables.sum(axis=0) / tables.sum()
    chance = float(shares.sum(axis=0) @ shares.sum(axis=1))
    return None if chance > 1 - _ROUNDING else float((np.trace(shares) - chance) / (1 - chance))


def _resampled(
    kappa: float | None, cases: NDArray[Any], kappa_of: Callable[[NDArray[Any]], float | None]
) -> tuple[float, float] | None:
    """Interval of a kappa by resampling cases; ``None`` if kappa is undefined in many samples."""
    generator = np.random.default_rng(0)
    drawn = [kappa_of(cases[generator.integers(len(cases), size=len(cases))]) for _ in range(_RESAMPLES)]
    defined = [value for value in drawn if value is not None]
    if kappa is None or len(defined) < 0.9 * _RESAMPLES:
        return None
    low, high = np.percentile(defined, (2.5, 97.5))
    return _interval(float(low), float(high))


def fleiss_agreement(readings: Sequence[Sequence[str]], classes: Sequence[str]) -> Agreement:
    """Fleiss' kappa of several readings of each case (1971); interval by resampling cases.

    Args:
        readings: For each case, the answer of each reader; the same number for every case, at least one case.
        classes: All classes.
    """
    codes = np.array([[classes.index(name) for name in case] for case in readings])
    counts = aggregate_raters(codes, n_cat=len(classes))[0]
    agreed = float((counts.max(axis=1) == codes.shape[1]).mean())
    kappa = _fleiss(counts)
    return Agreement(len(codes), agreed, kappa, _resampled(kappa, counts, _fleiss))


def _interval(low: float, high: float) -> tuple[float, float] | None:
    # Perfect agreement has no spread, but an interval of "1 to 1" from four cases would be too confident.
    if not (np.isfinite(low) and np.isfinite(high) and high - low > _ROUNDING):
        return None
    return max(-1.0, low), min(1.0, high)


def _fleiss(counts: NDArray[np.int64]) -> float | None:
    if (counts.sum(axis=0) > 0).sum() < 2:
        return None
    return float(fleiss_kappa(counts))
