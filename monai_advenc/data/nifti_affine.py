# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a NIfTI file lies, in millimeters: its unit, and its two forms where they disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from monai_advenc.data.volume import Affine, corner_distance, is_usable_affine
from monai_advenc.errors import VolumeError

_MILLIMETERS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""By the spatial part of ``xyzt_units``: unknown (which all programs take as millimeters), meters, mm, micrometers."""

_SPATIAL = 7

_AGREEMENT = 0.01
"""Of the smallest voxel side: a qform is a quaternion of 32-bit numbers, a sform a matrix of them."""


def affines_of(image: Any, path: Path) -> tuple[Affine, Affine | None]:
    """The affine that nibabel chooses, in mm, and the qform where it is another one.

    Args:
        image: NIfTI, whose units and forms count, or a format in mm with one affine.
        path: Its file, for messages.

    Raises:
        VolumeError: The affine has no three independent axes, or the unit is none of NIfTI's.
    """
    if not is_usable_affine(image.affine):
        raise VolumeError(
            f"{path} has no usable affine; expected three independent axes: set its orientation with a converter first"
        )
    header, affine = image.header, np.array(image.affine, dtype=np.float64)
    if "xyzt_units" not in header:
        return affine, None
    unit = int(header["xyzt_units"]) & _SPATIAL
    if unit not in _MILLIMETERS:
        raise VolumeError(
            f"{path} has the unit {unit} (xyzt_units), which NIfTI does not define; expected 2 for mm, 3 for "
            "micrometers or 1 for meters: correct the header"
        )
    affine[:3] *= _MILLIMETERS[unit]
    if header["sform_code"] <= 0 or header["qform_code"] <= 0:
        return affine, None
    other = np.array(header.get_qform(), dtype=np.float64)
    other[:3] *= _MILLIMETERS[unit]
    smallest = float(np.linalg.norm(affine[:3, :3], axis=0).min())
    shape = (*image.shape[:3], 1, 1)[:3]
    differs = is_usable_affine(other) and corner_distance(shape, affine, other) > _AGREEMENT * smallest
    return affine, other if differs else None
