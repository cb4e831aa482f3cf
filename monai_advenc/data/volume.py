# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A volume in memory, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import nibabel.orientations
import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
"""4x4, from voxel indices to RAS+ world coordinates in mm."""


def is_usable_affine(affine: NDArray[Any] | None) -> bool:
    """Whether an affine has three finite axes that point in different directions."""
    if affine is None or not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        return False
    # nibabel finds no orientation for axes that are nearly parallel or of implausible lengths.
    return not np.isnan(orientation_of(affine)).any()


def orientation_of(affine: Affine) -> NDArray[np.float64]:
    """The RAS axis nearest to each stored axis, and its direction: ``(3, 2)``, NaN for an axis without one.

    That is nibabel's ``io_orientation``, computed once for all slices of a volume.
    """
    return _orientation_of(np.asarray(affine, dtype=np.float64)[:3, :3].tobytes()).copy()


@lru_cache(maxsize=256)
def _orientation_of(axes: bytes) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = np.frombuffer(axes).reshape(3, 3)
    found: NDArray[np.float64] = nibabel.orientations.io_orientation(affine)
    return found


def corner_distance(shape: tuple[int, ...], one: Affine, other: Affine) -> float:
    """How far apart, in mm, two affines place the corners of a grid ``(X, Y, Z)``, at most."""
    corners = np.array([[x, y, z, 1.0] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    corners[:, :3] *= np.array(shape) - 1
    return float(np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max())


@dataclass(frozen=True)
class Volume:
    """Voxels on their grid.

    Attributes:
        voxels: ``(X, Y, Z)``.
        affine: 4x4, from voxel indices to RAS+ world coordinates in mm.
        source: Name of the file, for messages.
        padding: ``(X, Y, Z)``, bool: voxels outside the measured field of view; they count as background. ``None``:
            none.
        inverted: Whether viewers show low values bright (DICOM's MONOCHROME1).
        other_form: 4x4, in mm: the affine of a NIfTI file's qform where it has a sform that disagrees. ``None``: the
            file says one thing.
        assumed: The orientation that was assumed, such as ``"RAS"``, because the file states none. ``None``: it does.
        slice_axis: The axis from slice to slice of a file that was acquired in slices and says so (DICOM); ``None``:
            the file does not say.
    """

    voxels: NDArray[Any]
    affine: Affine
    source: str
    padding: NDArray[np.bool_] | None = None
    inverted: bool = False
    other_form: Affine | None = None
    assumed: str | None = None
    slice_axis: int | None = None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighboring voxels along each axis, in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def oriented(self, axcodes: str) -> Volume:
        """The same volume with its axes pointing toward ``axcodes`` (like ``"RAS"``); no voxel is interpolated."""
        stored = orientation_of(self.affine)
        wanted = nibabel.orientations.axcodes2ornt(tuple(axcodes))
        change = nibabel.orientations.ornt_transform(stored, wanted)
        turn = nibabel.orientations.inv_ornt_aff(change, self.voxels.shape)
        other = None if self.other_form is None else self.other_form @ turn

        def turned(array: NDArray[Any]) -> NDArray[Any]:
            return np.ascontiguousarray(nibabel.orientations.apply_orientation(array, change))

        return replace(
            self,
            voxels=turned(self.voxels),
            affine=self.affine @ turn,
            padding=None if self.padding is None else turned(self.padding),
            other_form=other,
            slice_axis=None if self.slice_axis is None else int(change[self.slice_axis, 0]),
        )
