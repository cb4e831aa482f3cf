# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The three anatomical planes, and how their slices are turned upright."""

from __future__ import annotations

from typing import Final, Literal

from monai_advenc.data.volume import Affine, orientation_of

Plane = Literal["axial", "coronal", "sagittal"]

PLANES: Final[dict[str, str]] = {"axial": "PLS", "coronal": "ILA", "sagittal": "IPR"}
"""For each plane, the axes of its slices: rows downward, columns to the right, next slice.

Axial and coronal slices lie as radiologists read them: the patient's right on the image's left. The last axis points
like the RAS axis, so that an index is the same in both.
"""

_ACROSS: Final[tuple[Plane, ...]] = ("sagittal", "coronal", "axial")
"""The planes across the axes of RAS."""


def plane_across(affine: Affine, axis: int) -> tuple[Plane, bool]:
    """The anatomical plane nearest to slices along a stored axis, and whether their order is that of the RAS axis."""
    world, direction = orientation_of(affine)[axis]
    return _ACROSS[int(world)], direction > 0
