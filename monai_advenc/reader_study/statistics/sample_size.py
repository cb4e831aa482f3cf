# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Number of cases that a study needs, from the exact power of its test, not from a normal approximation.

One reader reads each case twice. More readers of the same cases sharpen the estimate of their average; by how much
depends on the correlation of their readings, which is unknown before the study.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, norm

from monai_advenc.errors import SettingsError
from monai_advenc.reader_study.statistics.paired_proportions import score_statistic

MOST_CASES = 20000
_NEGLIGIBLE = 1e-12
_STEADY = 10
"""The power is a saw-tooth curve over the number of cases; this many successive numbers must reach the target."""


@dataclass(frozen=True)
class SampleSize:
    """Number of cases with its exact error rates.

    Attributes:
        cases: Cases to read.
        power: Exact probability that the test finds non-inferiority, if the assumptions hold.
        false_positive_rate: The same probability if encrypted images cost exactly the margin.
        approximate_cases: Number of cases by the usual approximate formula.
    """

    cases: int
    power: float
    false_positive_rate: float
    approximate_cases: int


def power_of(cases: int, gains: float, losses: float, margin: float, alpha: float) -> float:
    """Exact probability that Tango's test finds non-inferiority.

    Args:
        cases: Number of cases.
        gains: True share of cases that are read correctly only when encrypted.
        losses: True share of cases that are read correctly only as original.
        margin: Loss that counts as inferior.
        alpha: Level of the one-sided test.
    """
    chance = 0.0
    limit = norm.isf(alpha)
    discordant = gains + losses
    if discordant == 0:
        return float(score_statistic(0, 0, cases, -margin) > limit)
    low, high = binom.ppf((_NEGLIGIBLE, 1 - _NEGLIGIBLE), cases, discordant).astype(int)
    for count in range(max(0, low), high + 1):
        weight = binom.pmf(count, cases, discordant)
        won = np.arange(count + 1, dtype=float)
        passes = score_statistic(won, count - won, cases, -margin) > limit
        chance += float(weight * binom.pmf(won, count, gains / discordant)[passes].sum())
    return min(1.0, chance)


def cases_needed(
    margin: float, power: float = 0.8, alpha: float = 0.025, discordant: float = 0.05, difference: float = 0.0
) -> SampleSize:
    """Find the number of cases from which the test has the wanted power.

    Args:
        margin: Loss of accuracy that counts as inferior.
        power: Wanted probability of finding non-inferiority.
        alpha: Level of the one-sided test.
        discordant: Expected share of cases with exactly one right reading; the paper's readers had 5 %.
        difference: Expected accuracy on encrypted minus that on original images.

    Raises:
        SettingsError: A number is out of range, or more than ``MOST_CASES`` cases are needed.
    """
    if not (0 < margin < 1 and 0 < alpha < 0.5 and alpha < power < 1 and 0 <= discordant <= 1):
        raise SettingsError("expected margin, power and alpha between 0 and 1, power above alpha, alpha below 0.5")
    if abs(difference) > discordant:
        raise SettingsError(f"the difference {difference:g} cannot exceed the share of discordant cases {discordant:g}")
    if difference <= -margin:
        raise SettingsError(f"a difference of {difference:g} is inferior at a margin of {margin:g}; widen the margin")
    gains, losses = (discordant + difference) / 2, (discordant - difference) / 2
    reach = float(norm.isf(alpha) + norm.isf(1 - power))
    approximate = max(1, int(np.ceil(reach**2 * (discordant - difference**2) / (margin + difference) ** 2)))
    if approximate > MOST_CASES:
        raise SettingsError(f"this needs about {approximate} cases, more than {MOST_CASES}; widen the margin")
    count = _first_steady(max(2, approximate // 2), power, (gains, losses, margin, alpha))
    at_margin = max(discordant, margin)
    return SampleSize(
        count,
        power_of(count, gains, losses, margin, alpha),
        power_of(count, (at_margin - margin) / 2, (at_margin + margin) / 2, margin, alpha),
        approximate,
    )


def _first_steady(start: int, power: float, assumptions: tuple[float, float, float, float]) -> int:
    """First of ``_STEADY`` successive numbers that all reach the power."""
    low = start
    # Coarse steps first, because trying thousands of cases one by one is slow.
    step = max(1, start // 10)
    while power_of(low, *assumptions) < power:
        low += step
        if low > 4 * MOST_CASES:
            raise SettingsError(f"no number of cases up to {low} reaches power {power:g}; widen the margin")
    count = max(2, low - step)
    reached = 0
    while reached < _STEADY:
        reached = reached + 1 if power_of(count, *assumptions) >= power else 0
        count += 1
    return count - _STEADY
