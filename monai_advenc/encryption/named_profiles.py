# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Profiles: the named settings from which a key is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from monai_advenc.encryption.base_fit import BaseRecipe
from monai_advenc.perturbation.grain import Grain

Profile = Literal["default", "error-minimizing", "paper-basic", "paper-concat", "paper-mixup-concat", "strong"]

PROFILE_COMBINERS: Final[Mapping[Profile, str]] = MappingProxyType(
    {
        "default": "horizontal-concat",
        "error-minimizing": "basic",
        "paper-basic": "basic",
        "paper-concat": "horizontal-concat",
        "paper-mixup-concat": "mixup-and-concat",
        "strong": "basic",
    }
)
"""The combiner of each profile."""

AUGMENTED_PROFILES: Final = ("default", "error-minimizing", "strong")
"""Profiles with augmentation-aware steps; the paper's have plain steps."""

OWN_PROFILES: Final = ("error-minimizing", "strong")
"""Profiles of the error-minimizing family: every class is its own target."""

PROFILE_GRAINS: Final[Mapping[Profile, Grain]] = MappingProxyType({"strong": Grain(finest=0.7, coarsest=1.4)})
"""Grain of the profiles that have one. In trials with one seed JPEG removed a finer one, and fresh networks learned a
coarser one less (``docs/strength.md``)."""

WHOLE_RADIUS_PROFILES: Final = ("strong",)
"""Profiles whose changes are lengthened to the radius."""

PROFILE_BASES: Final[Mapping[Profile, BaseRecipe]] = MappingProxyType(
    {"strong": BaseRecipe(network="ensemble_small", drawn_classes=True)}
)
"""How the base networks of profiles are trained that are not those of the profile error-minimizing."""

TWO_CLASSES_COMBINER: Final = "basic"
"""The default profile's combiner for two classes, which have one target each; Horizontal Concat takes two."""


def combiner_of(profile: Profile, classes: int) -> str:
    """Name of the combiner of a profile for so many classes."""
    return TWO_CLASSES_COMBINER if profile == "default" and classes == 2 else PROFILE_COMBINERS[profile]
