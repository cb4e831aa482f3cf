# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a NIfTI file lies, in millimeters: its unit, its two forms if they disagree, and files that do not say it."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from monai_advenc.data.volume import Affine, corner_distance, is_usable_affine
from monai_advenc.errors import VolumeError

_MILLIMETERS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""By the spatial part of ``xyzt_units``: unknown (which all programs take as millimeters), meters, mm, micrometers."""

_SPATIAL = 7

_MGH_FLAG = slice(28, 30)
"""Where the header of MGH has its goodRASFlag."""

_SIDES = ("LR", "PA", "IS")
"""The two directions of each axis of the world, the positive one last."""

_AGREEMENT = 0.01
"""Of the smallest voxel side: a qform is a quaternion of 32-bit numbers, a sform a matrix of them."""


def placed(image: Any, path: Path, assumed: str | None) -> tuple[Affine, Affine | None, str | None]:
    """The affines of a volume as :func:`affines_of` gives them, and the orientation if it had to be assumed.

    Args:
        image: The volume.
        path: Its file, for messages.
        assumed: Where the axes of a volume that states no orientation point, such as ``"RAS"``; ``None``: not known.

    Raises:
        VolumeError: As :func:`affines_of`; or the file states no orientation and none is assumed.
    """
    if _states_orientation(image.header, path):
        return *affines_of(image, path), None
    if assumed is None:
        raise VolumeError(
            f"{path} does not say where left and right are (Analyze, or codes of 0 for qform, sform or RAS); if you "
            "know where its axes point, give --assume-orientation, such as RAS for right, anterior, superior"
        )
    spacing = np.array(image.header.get_zooms()[:3], dtype=np.float64)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise VolumeError(f"{path} has the spacings {spacing.tolist()}; expected three above 0: correct the header")
    affine = np.diag([0.0, 0, 0, 1])
    for axis, letter in enumerate(assumed):
        world = next(place for place, pair in enumerate(_SIDES) if letter in pair)
        affine[world, axis] = spacing[axis] * (1 if letter == _SIDES[world][1] else -1)
    affine[:3] *= _millimeters(image.header, path)
    return affine, None, assumed


def require_orientation(text: str) -> str:
    """Return three letters such as ``"RAS"``: where the voxel axes point, one letter for each.

    Raises:
        ValueError: They are no such letters.
    """
    if sorted(next((place for place, pair in enumerate(_SIDES) if letter in pair), -1) for letter in text) != [0, 1, 2]:
        raise ValueError("expected three letters, one each of L or R, P or A, I or S, such as RAS")
    return text


def _states_orientation(header: Any, path: Path) -> bool:
    if "sform_code" in header:
        return bool(header["sform_code"] > 0 or header["qform_code"] > 0)
    if "goodRASFlag" not in header:
        return False
    # nibabel sets the flag, and the axes that FreeSurfer takes without it.
    with gzip.open(path) if path.name.lower().endswith(".mgz") else path.open("rb") as file:
        return int.from_bytes(file.read(_MGH_FLAG.stop)[_MGH_FLAG], "big", signed=True) > 0


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
    unit = _millimeters(header, path)
    affine[:3] *= unit
    if header["sform_code"] <= 0 or header["qform_code"] <= 0:
        return affine, None
    try:
        other = np.array(header.get_qform(), dtype=np.float64)
    except ValueError:  # Its quaternion has no unit length; the sform decides in any case.
        return affine, None
    other[:3] *= unit
    smallest = float(np.linalg.norm(affine[:3, :3], axis=0).min())
    shape = (*image.shape[:3], 1, 1)[:3]
    differs = is_usable_affine(other) and corner_distance(shape, affine, other) > _AGREEMENT * smallest
    return affine, other if differs else None


def _millimeters(header: Any, path: Path) -> float:
    """Millimeters of one unit of a NIfTI header; other formats count in millimeters."""
    unit = int(header["xyzt_units"]) & _SPATIAL if "xyzt_units" in header else 0
    if unit not in _MILLIMETERS:
        raise VolumeError(
            f"{path} has the unit {unit} (xyzt_units), which NIfTI does not define; expected 2 for mm, 3 for "
            "micrometers or 1 for meters: correct the header"
        )
    return _MILLIMETERS[unit]
