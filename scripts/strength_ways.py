# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The ways to perturb that scripts/measure_strength.py compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Way:
    """One way to perturb: a profile of keys, another combiner, which pixels change, and the limit by noise, if any."""

    profile: str
    combiner: str | None = None
    region: str = "all"
    noise: float | None = None


WAYS: Final[dict[str, Way | None]] = {
    "originals": None,
    "paper-basic": Way("paper-basic"),
    "basic, augmentation-aware": Way("default", "basic"),
    "default": Way("default"),
    "error-minimizing": Way("error-minimizing"),
    "error-minimizing, body": Way("error-minimizing", region="body"),
    "default, body": Way("default", region="body"),
    "error-minimizing, body, noise 1": Way("error-minimizing", region="body", noise=1),
    "default, body, noise 1": Way("default", region="body", noise=1),
}
