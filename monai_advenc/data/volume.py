# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A volume in memory, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    return not np.isnan(nibabel.orientations.io_orientation(affine)).any()


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
    """

    voxels: NDArray[Any]
    affine: Affine
    source: str
    padding: NDArray[np.bool_] | None = None
    inverted: bool = False

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighboring voxels along each axis, in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def oriented(self, axcodes: str) -> Volume:
        """The same volume with its axes pointing toward ``axcodes`` (like ``"RAS"``); no voxel is interpolated."""
        stored = nibabel.orientations.io_orientation(self.affine)
        wanted = nibabel.orientations.axcodes2ornt(tuple(axcodes))
        change = nibabel.orientations.ornt_transform(stored, wanted)
        affine = self.affine @ nibabel.orientations.inv_ornt_aff(change, self.voxels.shape)

        def turned(array: NDArray[Any]) -> NDArray[Any]:
            return np.ascontiguousarray(nibabel.orientations.apply_orientation(array, change))

        padding = None if self.padding is None else turned(self.padding)
        return replace(self, voxels=turned(self.voxels), affine=affine, padding=padding)
