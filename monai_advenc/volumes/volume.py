# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A volume in memory, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel.orientations
import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
"""4x4, from voxel indices to RAS+ world coordinates in mm."""


@dataclass(frozen=True)
class Volume:
    """Voxels on their grid.

    Attributes:
        voxels: ``(X, Y, Z)``.
        affine: 4x4, from voxel indices to RAS+ world coordinates in mm.
        source: Name of the file, for messages.
    """

    voxels: NDArray[Any]
    affine: Affine
    source: str

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
        voxels = nibabel.orientations.apply_orientation(self.voxels, change)
        affine = self.affine @ nibabel.orientations.inv_ornt_aff(change, self.voxels.shape)
        return Volume(np.ascontiguousarray(voxels), affine, self.source)
