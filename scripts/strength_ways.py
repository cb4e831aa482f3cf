# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The ways to perturb that scripts/measure_strength.py compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Way:
    """One way to perturb: a profile of keys, the combiner if it is another, and the pixels that change."""

    profile: str
    combiner: str | None = None
    region: str = "all"


WAYS: Final[dict[str, Way | None]] = {
    "originals": None,
    "paper-basic": Way("paper-basic"),
    "basic, augmentation-aware": Way("default", "basic"),
    "default": Way("default"),
    "error-minimizing": Way("error-minimizing"),
    "error-minimizing, body": Way("error-minimizing", region="body"),
    "default, body": Way("default", region="body"),
}
