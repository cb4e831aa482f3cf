# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Agreement of readings beyond chance: Cohen's kappa for two readings, Fleiss' kappa for several readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


def cohen_agreement(first: Sequence[str], second: Sequence[str], classes: Sequence[str]) -> Agreement:
    """Cohen's kappa of two readings of each case (1960); interval by Fleiss, Cohen and Everitt (1969)."""
    place = {name: number for number, name in enumerate(classes)}
    table = np.zeros((len(classes), len(classes)))
    for one, other in zip(first, second, strict=True):
        table[place[one], place[other]] += 1
    total = int(table.sum())
    agreed = float(np.trace(table) / total) if total else float("nan")
    chance = float((table.sum(axis=0) * table.sum(axis=1)).sum() / total**2) if total else 1.0
    if chance == 1.0:
        return Agreement(total, agreed, None, None)
    # Rounding can make a variance of zero negative; there is no interval then.
    with np.errstate(invalid="ignore"):
        result = cohens_kappa(table)
        low, high = float(result.kappa_low), float(result.kappa_upp)
    return Agreement(total, agreed, float(result.kappa), _interval(low, high))


def pooled_cohen_agreement(pairs: Sequence[Sequence[tuple[str, str]]], classes: Sequence[str]) -> Agreement:
    """Cohen's kappa over several readers with two readings of each case; interval by resampling cases.

    Args:
        pairs: For each case, the two readings of each reader who read it twice.
        classes: All classes.
    """
    place = {name: number for number, name in enumerate(classes)}
    tables = np.zeros((len(pairs), len(classes), len(classes)))
    for case, both in enumerate(pairs):
        for one, other in both:
            tables[case, place[one], place[other]] += 1
    said = [pair for case in pairs for pair in case]
    flat = cohen_agreement([one for one, _ in said], [other for _, other in said], classes)
    return Agreement(flat.cases, flat.agreed, flat.kappa, _resampled(flat.kappa, tables, _cohen))


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
        readings: For each case, the answer of each reader; the same number for every case.
        classes: All classes.
    """
    place = {name: number for number, name in enumerate(classes)}
    codes: NDArray[np.int64] = np.array([[place[name] for name in case] for case in readings], dtype=np.int64)
    if not len(codes):
        return Agreement(0, float("nan"), None, None)
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
