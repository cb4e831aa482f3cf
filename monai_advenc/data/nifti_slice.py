# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A single slice stored as NIfTI, turned upright by its affine as the slices of volumes are.

The file's slice axis (the one with one voxel; the third one of two-dimensional files) decides the anatomical plane, and
rows and columns then point as in :data:`monai_advenc.data.anatomical_planes.PLANES`. Three kinds of files stay as they
are stored:

- files that state no orientation (both codes 0);
- files with the identity as affine: this package writes it where there is no geometry, and so do others;
- files that this package marked, because it wrote an image whose rows and columns point elsewhere, such as a DICOM
  image of a patient who lay prone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel.orientations
import numpy as np
from numpy.typing import NDArray

from monai_advenc.data.anatomical_planes import PLANES, plane_across
from monai_advenc.data.nifti import read_stored
from monai_advenc.data.nifti_affine import affines_of, placed
from monai_advenc.data.volume import Affine, orientation_of
from monai_advenc.errors import VolumeError

SHOWN_AS_STORED: Final = b"rows and columns as shown"
"""Text in a header (``descrip``): the first axis points down and the second to the right, whatever the affine says."""

_THIRD: Final = 2


@dataclass(frozen=True)
class Turn:
    """How the stored rows and columns become those of the upright image.

    Attributes:
        swapped: Whether rows become columns.
        flipped: Whether rows, and whether columns, are then reversed.
    """

    swapped: bool = False
    flipped: tuple[bool, bool] = (False, False)

    def of(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Turn pixels ``(H, W)`` or ``(H, W, C)``."""
        turned = pixels.swapaxes(0, 1) if self.swapped else pixels
        return turned[tuple(slice(None, None, -1 if reverse else 1) for reverse in self.flipped)]


@dataclass(frozen=True)
class NiftiSlice:
    """A slice as it is stored, and how it is turned.

    Attributes:
        stored: ``(H, W)`` or ``(H, W, 3)``, as stored.
        turn: From the stored to the upright image.
        affine: 4x4, from ``(h, w, 0)`` of the upright image to RAS+ world coordinates in mm.
    """

    stored: NDArray[Any]
    turn: Turn
    affine: Affine

    @property
    def upright(self) -> NDArray[Any]:
        """The pixels of the upright image."""
        return self.turn.of(self.stored)


def read_nifti_slice(path: Path) -> NiftiSlice:
    """Read a slice stored as NIfTI: with two axes, or with three of which one has a single voxel; gray or RGB.

    Raises:
        VolumeError: The file is damaged, or holds more than one slice.
    """
    image, values = read_stored(path)
    header = image.header
    # A slice without codes has rows and columns all the same; other formats must state an orientation.
    affine = affines_of(image, path)[0] if "sform_code" in header else placed(image, path, None)[0]
    axis, stored = _single_slice(values, path)
    is_stated = header["sform_code"] > 0 or header["qform_code"] > 0
    is_marked = axis == _THIRD and bytes(header["descrip"].item()) == SHOWN_AS_STORED
    if not is_stated or is_marked or np.array_equal(affine, np.eye(4)):
        return NiftiSlice(stored, Turn(), affine)
    turn, placing = _turn_by(affine, axis, (stored.shape[0], stored.shape[1]))
    return NiftiSlice(stored, turn, affine if axis == _THIRD and turn == Turn() else affine @ placing)


def is_upright(affine: Affine) -> bool:
    """Whether a reader of slices ``(H, W, 1)`` leaves them as they are for this affine."""
    return np.array_equal(affine, np.eye(4)) or _turn_by(affine, _THIRD, (1, 1))[0] == Turn()


def _single_slice(values: NDArray[Any], path: Path) -> tuple[int, NDArray[Any]]:
    """The slice axis, and the values of the other axes, ``(H, W)`` or ``(H, W, 3)``."""
    lengths = (*values.shape, 1, 1, 1)[:3]
    # Colors lie on the fifth axis, where NIfTI keeps vectors, or on the next one that is there.
    colors = [length for length in values.shape[3:] if length != 1]
    axis = next((axis for axis in (_THIRD, 0, 1) if lengths[axis] == 1), _THIRD)
    if lengths[axis] != 1 and not colors:
        colors = [lengths[axis]]
    sides = [lengths[other] for other in range(3) if other != axis]
    if colors not in ([], [3]) or values.size != np.prod([*sides, *colors]):
        shape = (*lengths[: max(2, values.ndim)], *values.shape[3:])
        raise VolumeError(f"{path} has shape {shape}; expected one slice: cut volumes with monai-advenc slice")
    return axis, values.reshape([*sides, *colors])


def _turn_by(affine: Affine, axis: int, sides: tuple[int, int]) -> tuple[Turn, Affine]:
    """The turn for a slice across a stored axis, and the affine from places in the upright slice to stored ones."""
    wanted = nibabel.orientations.axcodes2ornt(tuple(PLANES[plane_across(affine, axis)[0]]))
    change = nibabel.orientations.ornt_transform(orientation_of(affine), wanted)
    stored_of = change[:, 0].argsort()
    rows, columns = int(stored_of[0]), int(stored_of[1])
    lengths = np.insert(np.array(sides), axis, 1)
    placing: Affine = nibabel.orientations.inv_ornt_aff(change, tuple(lengths))
    return Turn(rows > columns, (change[rows, 1] < 0, change[columns, 1] < 0)), placing
