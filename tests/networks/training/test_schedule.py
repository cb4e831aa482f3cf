# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The one-cycle learning rate."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from monai_advenc.networks.training.schedule import END_DIVISOR, START_DIVISOR, one_cycle


@given(steps=st.integers(2, 500), peak=st.floats(1e-4, 10))
def test_it_rises_then_falls_between_its_three_corners(steps: int, peak: float) -> None:
    rates = [one_cycle(step, steps, peak) for step in range(steps)]
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) <= peak * (1 + 1e-9)
    assert rates[0] == pytest.approx(peak / START_DIVISOR)
    assert rates[-1] == pytest.approx(peak / END_DIVISOR)


def test_it_reaches_its_peak_after_a_quarter() -> None:
    assert one_cycle(25, 101, 0.1) == pytest.approx(0.1)


def test_a_single_step_has_a_rate() -> None:
    assert one_cycle(0, 1, 0.1) == pytest.approx(0.1)
