# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare two accuracies on the same cases: their difference, its interval, and a non-inferiority test.

The score method of Tango (Statistics in Medicine 17, 1998, 891-908) is used: its test and interval agree, both hold for
small samples and empty cells, and at a margin of zero the test is McNemar's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

_EDGE = 1e-9


@dataclass(frozen=True)
class FourCells:
    """The paper's figure 6: number of cases with both readings right, both wrong, or exactly one right.

    Attributes:
        both_right: Original and encrypted right.
        both_wrong: Original and encrypted wrong.
        only_original_right: Original right, encrypted wrong.
        only_encrypted_right: Encrypted right, original wrong.

    The counts are whole numbers unless they are thinned to the effective number of independent readings.
    """

    both_right: float
    both_wrong: float
    only_original_right: float
    only_encrypted_right: float

    @classmethod
    def of(cls, original: NDArray[np.bool_], encrypted: NDArray[np.bool_]) -> FourCells:
        """Count pairs from whether the readings of originals and of encrypted images were right, in the same order."""
        pairs = (original & encrypted, ~original & ~encrypted, original & ~encrypted, ~original & encrypted)
        return cls(*(int(each.sum()) for each in pairs))

    @property
    def counts(self) -> tuple[float, ...]:
        """Both right, both wrong, only original, only encrypted."""
        return self.both_right, self.both_wrong, self.only_original_right, self.only_encrypted_right

    @property
    def total(self) -> float:
        """Number of pairs of readings."""
        return sum(self.counts)

    @property
    def shares(self) -> tuple[float, ...]:
        """The counts as fractions; NaN without readings."""
        return tuple(count / self.total if self.total else float("nan") for count in self.counts)

    @property
    def difference(self) -> float:
        """Accuracy on encrypted minus accuracy on original images; NaN without readings."""
        return (self.only_encrypted_right - self.only_original_right) / self.total if self.total else float("nan")

    def thinned(self, factor: float) -> FourCells:
        """Keep the shares and divide the number of readings by ``factor``."""
        return FourCells(*(count / factor for count in self.counts))


def score_statistic(
    gains: NDArray[np.float64] | float, losses: NDArray[np.float64] | float, total: float, difference: float
) -> NDArray[np.float64]:
    """Tango's statistic, standard normal if the true difference of the proportions is ``difference``.

    Args:
        gains: Pairs in which only the second is a success.
        losses: Pairs in which only the first is a success.
        total: All pairs.
        difference: Second proportion minus first, in (-1, 1).
    """
    gains, losses = np.asarray(gains, dtype=float), np.asarray(losses, dtype=float)
    # The maximum likelihood estimate under the null hypothesis is the larger root of a quadratic equation.
    linear = (2 * total - gains + losses) * difference - gains - losses
    constant = -losses * difference * (1 - difference)
    root = np.sqrt(np.maximum(linear**2 - 8 * total * constant, 0))
    losses_expected = (root - linear) / (4 * total)
    variance = total * (2 * losses_expected + difference * (1 - difference))
    distance = gains - losses - total * difference
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = distance / np.sqrt(variance)
    return np.where(variance > 0, statistic, np.where(distance == 0, 0.0, np.copysign(np.inf, distance)))


def difference_interval(cells: FourCells, alpha: float = 0.025) -> tuple[float, float]:
    """Tango's interval of level ``1 - 2 alpha`` for the accuracy on encrypted minus that on original images."""
    gains, losses, total = cells.only_encrypted_right, cells.only_original_right, cells.total
    limit = float(norm.isf(alpha))

    def excess(difference: float, wanted: float) -> float:
        return float(score_statistic(gains, losses, total, difference)) - wanted

    estimate = cells.difference
    low = -1.0 if estimate == -1 else brentq(excess, -1 + _EDGE, estimate, args=(limit,))
    high = 1.0 if estimate == 1 else brentq(excess, estimate, 1 - _EDGE, args=(-limit,))
    return float(low), float(high)


def non_inferiority_p(cells: FourCells, margin: float) -> float:
    """One-sided p-value of the hypothesis "encrypted images cost the margin or more"; below alpha: non-inferior."""
    statistic = score_statistic(cells.only_encrypted_right, cells.only_original_right, cells.total, -margin)
    return float(norm.sf(statistic))


def best_possible_bound(total: int, alpha: float) -> float:
    """Largest loss that ``total`` cases cannot rule out even if no reading differs."""
    square = float(norm.isf(alpha)) ** 2
    return square / (total + square)


def mcnemar_exact_p(cells: FourCells) -> float:
    """McNemar's exact (conditional binomial) two-sided p-value for any difference."""
    table = [[cells.both_right, cells.only_original_right], [cells.only_encrypted_right, cells.both_wrong]]
    return min(1.0, float(mcnemar(table, exact=True).pvalue))


def wilson_interval(right: float, total: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion; (0, 1) without observations.

    The counts are whole numbers unless they are thinned to the effective number of independent readings.
    """
    if not total:
        return 0.0, 1.0
    low, high = proportion_confint(right, total, alpha=1 - level, method="wilson")
    return max(0.0, float(low)), min(1.0, float(high))
