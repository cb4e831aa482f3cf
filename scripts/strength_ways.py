# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The ways to perturb that scripts/measure_strength.py compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from monai_advenc.encryption.named_profiles import Profile


@dataclass(frozen=True)
class Way:
    """One way to perturb.

    Attributes:
        profile: Of the key.
        combiner: Another combiner than the profile's.
        region: Which pixels change.
        noise: The limit by noise, if any.
        then: A second way that perturbs what this one has made, with a key and a base network of its own.
        share: Share of the energy that the second way has.
    """

    profile: Profile
    combiner: str | None = None
    region: str = "all"
    noise: float | None = None
    then: Way | None = None
    share: float = 0.5


WAYS: Final[dict[str, Way | None]] = {
    "originals": None,
    "paper-basic": Way("paper-basic"),
    "basic, augmentation-aware": Way("default", "basic"),
    "default": Way("default"),
    "error-minimizing": Way("error-minimizing"),
    "error-minimizing, body": Way("error-minimizing", region="body"),
    "strong, body": Way("strong", region="body"),
    "default, body": Way("default", region="body"),
    "error-minimizing, body, noise 1": Way("error-minimizing", region="body", noise=1),
    "default, body, noise 1": Way("default", region="body", noise=1),
    "error-minimizing, then basic, body": Way(
        "error-minimizing", region="body", then=Way("default", "basic", region="body")
    ),
    "basic, then error-minimizing, body": Way(
        "default", "basic", region="body", then=Way("error-minimizing", region="body")
    ),
}
