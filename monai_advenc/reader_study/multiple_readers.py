# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The difference of two accuracies over several readers who read the same cases.

Readings of one case are alike, and so are readings of one reader: pooling them all as if they were independent would
promise more than the study can hold. Obuchowski and Rockette (Communications in Statistics 24, 1995, 285-308), with the
degrees of freedom of Hillis (Statistics in Medicine 26, 2007, 596-619), count both: the interval is for readers and
cases like these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats


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
        reach = self._quantile(alpha) * self.standard_error
        return max(-1.0, self.estimate - reach), min(1.0, self.estimate + reach)

    def non_inferiority_p(self, margin: float) -> float:
        """One-sided p-value of "encrypted images cost the margin or more"."""
        statistic = (self.estimate + margin) / self.standard_error
        if np.isinf(self.degrees_of_freedom):
            return float(stats.norm.sf(statistic))
        return float(stats.t.sf(statistic, self.degrees_of_freedom))

    def _quantile(self, alpha: float) -> float:
        if np.isinf(self.degrees_of_freedom):
            return float(stats.norm.isf(alpha))
        return float(stats.t.isf(alpha, self.degrees_of_freedom))


def readers_difference(right: NDArray[np.bool_]) -> ReadersDifference | None:
    """The difference over several readers, both sampled.

    Args:
        right: ``(2, R, N)``: original and encrypted, readers, cases; at least two readers and two cases.

    Returns:
        The difference, or ``None`` when no reading of any reader varied between conditions in a way that gives it a
        variance: then the number of cases alone limits what can be said.
    """
    scores = right.astype(float)
    _, readers, cases = scores.shape
    accuracies = scores.mean(axis=2)
    differences = accuracies[1] - accuracies[0]
    # Mean square of the interaction of two conditions with the readers.
    interaction = float(np.square(differences - differences.mean()).sum()) / (2 * (readers - 1))
    # An accuracy is a mean over cases: the covariance of two is that of their cases, divided by their number.
    covariance = np.cov(scores.reshape(2 * readers, cases)).reshape(2, readers, 2, readers) / cases
    off_diagonal = ~np.eye(readers, dtype=bool)
    same_condition = np.mean([covariance[c, :, c, :][off_diagonal].mean() for c in range(2)])
    other_condition = covariance[0, :, 1, :][off_diagonal].mean()
    shared = readers * max(float(same_condition - other_condition), 0.0)
    variance = 2 / readers * (interaction + shared)
    if variance <= 0:
        return None
    freedom = (interaction + shared) ** 2 / (interaction**2 / (readers - 1)) if interaction > 0 else float("inf")
    return ReadersDifference(float(differences.mean()), variance**0.5, freedom)
