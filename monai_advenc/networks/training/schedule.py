# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Learning rates over one run: one cycle (Smith and Topin, 2019), or a cosine (Loshchilov and Hutter, 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

RISING_SHARE = 0.25
"""Share of the steps in which the rate rises."""

START_DIVISOR = 25.0
"""The first step's rate is the peak divided by this."""

END_DIVISOR = 1e4
"""The last step's rate is the peak divided by this."""


def one_cycle(step: int, steps: int, peak: float) -> float:
    """Learning rate of one step.

    Args:
        step: Number of the step, from 0 to ``steps - 1``.
        steps: Number of steps of the whole run.
        peak: Largest learning rate.

    Returns:
        The rate: a half cosine up to ``peak``, then one down.
    """
    top = RISING_SHARE * (steps - 1)
    if step < top:
        return _half_cosine(peak / START_DIVISOR, peak, step / top)
    return _half_cosine(peak, peak / END_DIVISOR, (step - top) / ((steps - 1 - top) or 1))


def cosine(step: int, steps: int, peak: float) -> float:
    """Learning rate of one step: a half cosine from ``peak`` at the first step down to almost zero at the last.

    Args:
        step: Number of the step, from 0 to ``steps - 1``.
        steps: Number of steps of the whole run.
        peak: Largest learning rate.
    """
    return _half_cosine(peak, peak / END_DIVISOR, step / ((steps - 1) or 1))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


Schedule = Callable[[int, int, float], float]

SCHEDULES: Mapping[str, Schedule] = MappingProxyType({"one-cycle": one_cycle, "cosine": cosine})
"""Schedules by name: each maps step, number of steps and peak to the learning rate."""
