# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Search the smallest radius that reaches a goal: quickly for each radius, thoroughly where that leaves hope."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from monai_advenc.errors import SettingsError
from monai_advenc.evaluation.recommendation.goal import Goal
from monai_advenc.evaluation.recommendation.time_limit import OutOfTimeError
from monai_advenc.evaluation.verdict import Verdict
from monai_advenc.evaluation.visibility import Visibility

HIGHEST_PSNR, LOWEST_PSNR, STEP_DB = 44.0, 32.0, 3.0
"""The radii tried by default, as PSNR of the encrypted images in dB; the paper's radius for MRI has 44 dB."""

SEARCH_SEED: Final = 0


@dataclass(frozen=True)
class Trial:
    """One measurement of a radius, with a key and victims of its own.

    Attributes:
        psnr_db: PSNR that an image has whose change fills the radius.
        seed: Decides key and victims.
        final: With the final schedule and all victims, rather than quickly.
    """

    psnr_db: float
    seed: int = SEARCH_SEED
    final: bool = False

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.psnr_db:g}dB-final-{self.seed}" if self.final else f"{self.psnr_db:g}dB-search"


@dataclass(frozen=True)
class Outcome:
    """What a trial found.

    Attributes:
        trial: The trial.
        verdict: From its victims; of a quick trial, which has one victim, only the numbers count.
        visibility: How visible the change is.
    """

    trial: Trial
    verdict: Verdict
    visibility: Visibility


@dataclass(frozen=True)
class Found:
    """The result of a search.

    Attributes:
        psnr_db: Of the smallest radius that reaches the goal; ``None`` if none does, or if time ran out.
        outcomes: What was measured, in this order.
        unmeasured: What time did not suffice for, by PSNR; empty if the search is complete.
    """

    psnr_db: float | None
    outcomes: tuple[Outcome, ...]
    unmeasured: tuple[float, ...] = ()


NOTHING_FOUND: Final = Found(None, ())


def grid(highest: float, lowest: float, step: float) -> tuple[float, ...]:
    """PSNRs from ``highest`` to ``lowest`` in dB, both included: radii in a geometric series, the smallest first.

    Raises:
        SettingsError: The range is empty or outside 10 to 80 dB, or the step is not positive.
    """
    if not (10 <= lowest <= highest <= 80 and step >= 0.1):
        raise SettingsError(
            f"expected a range of PSNRs from at most 80 down to at least 10 dB in steps of at least 0.1 dB, got "
            f"{highest:g} down to {lowest:g} in steps of {step:g}"
        )
    count = math.floor((highest - lowest) / step + 1e-9)
    values = [round(highest - place * step, 3) for place in range(count + 1)]
    return tuple(values if values[-1] == lowest else [*values, lowest])


def radius_of(psnr_db: float, shape: Sequence[int], radius_at: int) -> float:
    """The L2 radius of a PSNR, as a key states it: for square images of side ``radius_at``, to three digits.

    Args:
        psnr_db: PSNR for a peak of 1.
        shape: ``(C, H, W)`` of the images.
        radius_at: The side; 0: the radius of the images themselves.
    """
    channels, height, width = shape
    side = radius_at or math.sqrt(height * width)
    return float(f"{side * math.sqrt(channels) * 10 ** (-psnr_db / 20):.3g}")


def search_radius(
    decibels: Sequence[float], seeds: Sequence[int], goal: Goal, measure: Callable[[Trial], Outcome]
) -> Found:
    """Find the smallest radius that reaches a goal.

    Each radius, the smallest first, is measured quickly. If that leaves hope, it is measured with the final settings
    and several seeds, all of which must reach the goal; else the next larger one follows. The radius after the one
    found is measured quickly, for comparison.

    Args:
        decibels: PSNRs of the radii, highest first.
        seeds: Seeds of the final measurements.
        goal: What to reach.
        measure: Measures one trial; raises ``OutOfTimeError`` if time does not suffice.
    """
    outcomes: list[Outcome] = []
    for place, psnr_db in enumerate(decibels):
        try:
            reached = _reaches(psnr_db, seeds, goal, measure, outcomes)
        except OutOfTimeError:
            return Found(None, tuple(outcomes), tuple(decibels[place:]))
        if reached:
            for following in decibels[place + 1 : place + 2]:
                try:
                    outcomes.append(measure(Trial(following)))
                except OutOfTimeError:
                    break
            return Found(psnr_db, tuple(outcomes))
    return Found(None, tuple(outcomes))


def _reaches(
    psnr_db: float,
    seeds: Sequence[int],
    goal: Goal,
    measure: Callable[[Trial], Outcome],
    outcomes: list[Outcome],
) -> bool:
    for trial in _trials(psnr_db, seeds):
        outcome = measure(trial)
        outcomes.append(outcome)
        if not (goal.is_reached if trial.final else goal.is_likely)(outcome.verdict):
            return False
    return True


def _trials(psnr_db: float, seeds: Sequence[int]) -> Iterator[Trial]:
    yield Trial(psnr_db)
    for seed in seeds:
        yield Trial(psnr_db, seed, final=True)
