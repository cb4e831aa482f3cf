# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""How far readings agree beyond chance: Cohen's kappa for two, Fleiss' for several readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        agreed: Share of cases on which all said the same.
        kappa: Beyond chance: 1 for always, 0 for as often as chance; ``None`` if all named one class throughout.
        interval: 95 %, or ``None``; also where no case departs from the rest, which says nothing of others.
    """

    cases: int
    agreed: float
    kappa: float | None
    interval: tuple[float, float] | None


def cohen_agreement(first: Sequence[str], second: Sequence[str], classes: Sequence[str]) -> Agreement:
    """Two readings of each case (Cohen 1960); interval by the variance of Fleiss, Cohen and Everitt (1969)."""
    place = {name: number for number, name in enumerate(classes)}
    table = np.zeros((len(classes), len(classes)))
    for one, other in zip(first, second, strict=True):
        table[place[one], place[other]] += 1
    total = int(table.sum())
    agreed = float(np.trace(table) / total) if total else float("nan")
    chance = float((table.sum(axis=0) * table.sum(axis=1)).sum() / total**2) if total else 1.0
    if chance == 1.0:
        return Agreement(total, agreed, None, None)
    # Where the variance is zero but for rounding, its root may not exist; there is no interval then.
    with np.errstate(invalid="ignore"):
        result = cohens_kappa(table)
        low, high = float(result.kappa_low), float(result.kappa_upp)
    return Agreement(total, agreed, float(result.kappa), _interval(low, high))


def fleiss_agreement(readings: Sequence[Sequence[str]], classes: Sequence[str]) -> Agreement:
    """Several readings of each case (Fleiss 1971); interval by resampling cases.

    Args:
        readings: For each case, what each reader said; as many for every case.
        classes: All classes.
    """
    place = {name: number for number, name in enumerate(classes)}
    codes: NDArray[np.int64] = np.array([[place[name] for name in case] for case in readings], dtype=np.int64)
    if not len(codes):
        return Agreement(0, float("nan"), None, None)
    counts = aggregate_raters(codes, n_cat=len(classes))[0]
    agreed = float((counts.max(axis=1) == codes.shape[1]).mean())
    kappa = _fleiss(counts)
    generator = np.random.default_rng(0)
    drawn = [_fleiss(counts[generator.integers(len(counts), size=len(counts))]) for _ in range(_RESAMPLES)]
    defined = [value for value in drawn if value is not None]
    if kappa is None or len(defined) < 0.9 * _RESAMPLES:
        return Agreement(len(codes), agreed, kappa, None)
    low, high = np.percentile(defined, (2.5, 97.5))
    return Agreement(len(codes), agreed, kappa, _interval(float(low), float(high)))


def _interval(low: float, high: float) -> tuple[float, float] | None:
    # A perfect agreement has no spread: "1 to 1" of four cases would promise what nobody knows.
    if not (np.isfinite(low) and np.isfinite(high) and high - low > _ROUNDING):
        return None
    return max(-1.0, low), min(1.0, high)


def _fleiss(counts: NDArray[np.int64]) -> float | None:
    if (counts.sum(axis=0) > 0).sum() < 2:
        return None
    return float(fleiss_kappa(counts))
