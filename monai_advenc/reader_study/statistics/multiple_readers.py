# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The difference of two accuracies over several readers of the same cases.

Readings of one case are correlated, and so are readings of one reader: pooling them as if independent would give
intervals that are too narrow. The method of Obuchowski and Rockette (Communications in Statistics 24, 1995, 285-308),
with the degrees of freedom of Hillis (Statistics in Medicine 26, 2007, 596-619), accounts for both: the interval holds
for readers and cases like these. It is a normal approximation and too optimistic when little varies; then the score
method of a single reader, on the effective number of independent pairs, is the more cautious one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from monai_advenc.reader_study.statistics.paired_proportions import FourCells, difference_interval, non_inferiority_p

_ROUNDING = 1e-15


@dataclass(frozen=True)
class ReadersDifference:
    """Accuracy on encrypted minus accuracy on original images, averaged over readers.

    Attributes:
        estimate: The difference.
        standard_error: Over readers and cases.
        degrees_of_freedom: Of Student's t; infinite if readers do not differ.
    """

    estimate: float
    standard_error: float
    degrees_of_freedom: float

    def interval(self, alpha: float) -> tuple[float, float]:
        """Interval of level ``1 - 2 alpha``."""
        reach = float(self._distribution.isf(alpha)) * self.standard_error
        return max(-1.0, self.estimate - reach), min(1.0, self.estimate + reach)

    def non_inferiority_p(self, margin: float) -> float:
        """One-sided p-value of the hypothesis "encrypted images cost the margin or more"."""
        return float(self._distribution.sf((self.estimate + margin) / self.standard_error))

    @property
    def _distribution(self) -> Any:
        return stats.norm() if np.isinf(self.degrees_of_freedom) else stats.t(self.degrees_of_freedom)


def readers_difference(right: NDArray[np.bool_]) -> ReadersDifference | None:
    """Estimate the difference over several readers, with readers and cases as random samples.

    The variance between readers is at least the part that the cases contribute to it: the plain estimate from a few
    readers is often smaller by chance and would give intervals that are too narrow.

    Args:
        right: ``(2, R, N)``: original and encrypted, readers, cases; at least two readers and two cases.

    Returns:
        The difference, or ``None`` if no reading varied between conditions, because its variance is then unknown.
    """
    scores = right.astype(float)
    _, readers, cases = scores.shape
    accuracies = scores.mean(axis=2)
    differences = accuracies[1] - accuracies[0]
    # An accuracy is a mean over cases: the covariance of two is that of their cases divided by the number of cases.
    covariance = np.cov(scores.reshape(2 * readers, cases)).reshape(2, readers, 2, readers) / cases
    others = ~np.eye(readers, dtype=bool)
    variance = np.mean([np.diag(covariance[c, :, c, :]).mean() for c in range(2)])
    same_reader = np.diag(covariance[0, :, 1, :]).mean()
    same_condition = np.mean([covariance[c, :, c, :][others].mean() for c in range(2)])
    nothing_same = covariance[0, :, 1, :][others].mean()
    # Mean square of the interaction of conditions and readers, and the part that the cases contribute to it.
    observed = float(np.square(differences - differences.mean()).sum()) / (2 * (readers - 1))
    interaction = max(observed, float(variance - same_reader - same_condition + nothing_same))
    shared = readers * max(float(same_condition - nothing_same), 0.0)
    spread = 2 / readers * (interaction + shared)
    if spread <= _ROUNDING:
        return None
    freedom = (interaction + shared) ** 2 / (interaction**2 / (readers - 1)) if interaction > _ROUNDING else np.inf
    return ReadersDifference(float(differences.mean()), spread**0.5, float(freedom))


def design_effect(right: NDArray[np.bool_]) -> float:
    """Design effect: the number of pairs of readings that are worth one independent pair, at least 1.

    It is the variance of the difference over cases, divided by the variance of independent pairs (Rao and Scott,
    Biometrics 48, 1992, 577-585). If no reading varies, each case counts once.

    Args:
        right: ``(2, R, N)``: original and encrypted, readers, cases.
    """
    changes: NDArray[np.float64] = right[1].astype(np.float64) - right[0]
    readers, cases = changes.shape
    independent = float(changes.var()) / (readers * cases)
    if cases < 2 or independent <= _ROUNDING:
        return float(readers)
    clustered = float(np.var(changes.mean(axis=0), ddof=1)) / cases
    return max(1.0, float(clustered / independent))


def worth_of_readings(right: Sequence[int], read: Sequence[int]) -> float:
    """Number of readings that are worth one independent reading, at least 1.

    It is the variance of a share over cases as clusters, divided by that of independent readings (Rao and Scott,
    Biometrics 48, 1992, 577-585). Cases that only some readers got wrong show the correlation. There may be few, so two
    cases are added: one with all readings right and one with all wrong. With them, Wilson's 95 % intervals covered the
    truth in 93 to 99 % of simulated studies of 3 to 8 readers and 12 to 60 cases; without correction in 56 to 95 %.

    Args:
        right: Number of right readings of each case.
        read: Number of readings of each case, at least one.
    """
    usual = sum(read) / len(read)
    hits = np.array([*right, usual, 0], dtype=np.float64)
    counts = np.array([*read, usual, usual], dtype=np.float64)
    share, cases = hits.sum() / counts.sum(), len(counts)
    independent = share * (1 - share) / counts.sum()
    clustered = cases / (cases - 1) * ((hits - share * counts) ** 2).sum() / counts.sum() ** 2
    return max(1.0, float(clustered / independent))


@dataclass(frozen=True)
class CautiousComparison:
    """Result of the more cautious of two methods, for several readers of the same cases.

    Attributes:
        estimate: Accuracy on encrypted minus accuracy on original images.
        interval: Interval of level ``1 - 2 alpha``; it contains those of both methods.
        p: One-sided p-value of a loss as large as the margin; the larger of the two.
        method: Name of the method.
    """

    estimate: float
    interval: tuple[float, float]
    p: float
    method: str


def compare_cautiously(right: NDArray[np.bool_], margin: float, alpha: float) -> CautiousComparison:
    """Compare the two conditions over several readers.

    Obuchowski and Rockette's method fails when little varies; Tango's method on thinned pairs fails when readers differ
    from each other. Each holds where the other fails.

    Args:
        right: ``(2, R, N)``: original and encrypted, readers, cases; at least one case.
        margin: Loss that counts as inferior.
        alpha: Level of the one-sided test.
    """
    cells = FourCells.of(*right)
    thinned = cells.thinned(design_effect(right))
    low, high = difference_interval(thinned, alpha)
    p = non_inferiority_p(thinned, margin)
    spread = readers_difference(right) if right.shape[2] > 1 else None
    if spread is None:
        return CautiousComparison(cells.difference, (low, high), p, "Tango's score method, each case once")
    limits = spread.interval(alpha)
    return CautiousComparison(
        cells.difference,
        (min(low, limits[0]), max(high, limits[1])),
        max(p, spread.non_inferiority_p(margin)),
        "the more cautious of Obuchowski-Rockette and Tango's score method for clusters",
    )
