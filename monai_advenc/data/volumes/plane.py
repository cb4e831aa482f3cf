# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The plane of a volume's slices: one that is named, or the one in which the volume was acquired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

import numpy as np

from monai_advenc.data.anatomical_planes import PLANES, Plane, plane_across
from monai_advenc.data.volume import Volume
from monai_advenc.progress import Progress

PlaneChoice = Literal["acquired", "axial", "coronal", "sagittal"]

CLEARLY_COARSER: Final = 1.2
"""Ratio of spacings above which an axis counts as the one from slice to slice."""


def acquired_plane(volume: Volume) -> Plane:
    """The plane in which a volume was acquired.

    Args:
        volume: A DICOM series, whose slices decide; or a volume of a file that does not say (NIfTI). Then the slices
            lie across the only axis with one voxel, else across the axis whose spacing exceeds both others by more
            than 20 %. Without such an axis, the plane is axial.
    """
    axis = volume.slice_axis
    if axis is None:
        axis = _single_axis(volume)
    if axis is None:
        axis = _coarsest_axis(volume)
    return "axial" if axis is None else plane_across(volume.affine, axis)[0]


def chosen_plane(choice: str, volume: Volume) -> str:
    """The plane for a volume: the named one, or its acquired one."""
    return acquired_plane(volume) if choice == "acquired" else choice


def _single_axis(volume: Volume) -> int | None:
    single = [axis for axis, count in enumerate(volume.voxels.shape) if count == 1]
    return single[0] if len(single) == 1 else None


def _coarsest_axis(volume: Volume) -> int | None:
    spacing = np.array(volume.spacing)
    axis = int(spacing.argmax())
    # NIfTI stores spacings in float32: 1.2 is a little more there.
    is_clear = spacing[axis] > CLEARLY_COARSER * (1 + 1e-6) * np.delete(spacing, axis).max()
    return axis if is_clear else None


def count_planes(planes: Iterable[str]) -> dict[str, int]:
    """How many cases are cut in each plane, in the order of :data:`PLANES`."""
    counts = Counter(planes)
    return {name: counts[name] for name in PLANES if counts[name]}


def say_planes(planes: dict[str, int], progress: Progress) -> None:
    """Report in which planes cases were cut as acquired, and warn if there are several."""
    named = ", ".join(f"{name} for {count} case{'' if count == 1 else 's'}" for name, count in planes.items())
    progress.say(f"Plane as acquired: {named}.")
    if len(planes) > 1:
        progress.say(
            f"Warning: the slices lie in {len(planes)} different planes, so networks see different views of the body; "
            "give --plane axial, coronal or sagittal to cut all cases in one plane."
        )
