# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A cross-section of a DICOM series as a DICOM image of its own, on the numbers that the series stores.

Where the cut keeps the pixels of one frame, cropped or padded or turned perhaps, it has their very stored values. Where
it runs across frames or is interpolated, values are rounded to the nearest stored unit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from scipy import ndimage

from monai_advenc.data.dicom.derivation import derive, encode_dicom, require_writable
from monai_advenc.data.dicom.file import read_dicom
from monai_advenc.data.dicom.frame import DicomFrame
from monai_advenc.data.dicom.geometry import NewGrid
from monai_advenc.data.dicom.provenance import Derivation
from monai_advenc.data.dicom.series import DicomSeries
from monai_advenc.data.dicom.slice import stored_slices
from monai_advenc.data.stored_slice import StoredSlice
from monai_advenc.data.volumes.cross_section import CrossSection
from monai_advenc.errors import ImageError

_ON_THE_GRID = 1e-3
"""How far, in voxels, a pixel may lie from a voxel and still be that voxel; headers round their numbers."""


def encode_cross_section(series: DicomSeries, section: CrossSection) -> bytes:
    """The cut as a derived object with the identity of its source: a working copy of its owner.

    Raises:
        ImageError: The series cannot be written (modality LUT table, float pixels), or no frame's scale holds the
            values of all frames that the cut crosses.
    """
    to_voxels = np.linalg.inv(series.volume.affine) @ section.affine
    exact = bool(np.abs(to_voxels[:3] - np.rint(to_voxels[:3])).max() < _ON_THE_GRID)
    in_one_frame = bool(np.abs(to_voxels[2] - [0, 0, 0, round(to_voxels[2, 3])])[[0, 1, 3]].max() < _ON_THE_GRID)
    frame = series.frames[round(to_voxels[2, 3])] if in_one_frame else _widest(series.frames)
    source = read_dicom(frame.path, pixels=True)
    require_writable(source)
    (as_stored,) = stored_slices(source, [frame])
    values = _gathered(series, to_voxels, section) if exact else section.intensity.from_unit(section.image)
    stored, border = _stored(values, frame, as_stored, any_value=in_one_frame and exact)
    is_whole_frame = in_one_frame and exact and stored.shape == as_stored.stored.shape and _is_identity(to_voxels)
    grid = NewGrid(section.affine, reformatted=not in_one_frame, placed=frame.plane is not None)
    origin = f"{section.plane} {section.index} {np.round(section.affine, 6).tolist()} {stored.shape}"
    derived = derive(
        source,
        stored,
        Derivation.cutting(section.plane, origin, reformatted=not in_one_frame, interpolated=not exact),
        frame=frame.index,
        grid=None if is_whole_frame else grid,
        others=[] if in_one_frame else _others(series, frame),
        padding=border,
    )
    return encode_dicom(derived)


def _widest(frames: tuple[DicomFrame, ...]) -> DicomFrame:
    """The frame whose rescale slope reaches farthest (PET has one for each slice); the middle one if all are equal."""
    middle = len(frames) // 2
    return frames[max(range(len(frames)), key=lambda k: (abs(frames[k].slope), -abs(k - middle)))]


def _is_identity(to_voxels: NDArray[np.float64]) -> bool:
    """Whether rows and columns are those of the frame, from its first pixel on."""
    rows_and_columns = np.rint(to_voxels[:2, [0, 1, 3]]).astype(int)
    return bool(np.array_equal(rows_and_columns, [[0, 1, 0], [1, 0, 0]]))


def _gathered(series: DicomSeries, to_voxels: NDArray[np.float64], section: CrossSection) -> NDArray[np.float64]:
    """The values of the voxels under the pixels, NaN beyond the volume."""
    height, width = section.image.shape
    rows, columns = np.mgrid[:height, :width]
    places = np.rint(np.tensordot(to_voxels[:3], np.stack([rows, columns, 0 * rows, 0 * rows + 1]), axes=1))
    values: NDArray[np.float64] = ndimage.map_coordinates(
        series.volume.voxels, places, output=np.float64, order=0, cval=np.nan
    )
    return values


def _stored(
    values: NDArray[np.float64], frame: DicomFrame, like: StoredSlice, *, any_value: bool
) -> tuple[NDArray[Any], int | None]:
    """Values after the modality LUT as the numbers that the frame would store.

    Args:
        values: ``(H, W)``, NaN beyond the volume.
        frame: The frame whose rescale slope and intercept they get.
        like: The frame as stored.
        any_value: Whether they are that frame's own, which may use bits that hold no values (overlays).

    Returns:
        The numbers, and what stands for padding among them if there was none before.
    """
    numbers = np.rint((values - frame.intercept) / frame.slope)
    limits = np.iinfo(like.stored.dtype)
    lowest, highest = like.limits or (int(limits.min), int(limits.max))
    if not any_value and (np.nanmin(numbers) < lowest or np.nanmax(numbers) > highest):
        raise ImageError(
            f"{like.source} stores values from {lowest} to {highest}, which do not hold those of all slices that the "
            "cut crosses; cut the plane in which the series was taken, or write nifti"
        )
    if like.reserved is not None:
        border = like.reserved[0]
    elif like.rising:
        # Darker than all that occurs, if the bits can hold that.
        border = max(lowest, int(np.nanmin(numbers)) - 1)
    else:
        border = min(highest, int(np.nanmax(numbers)) + 1)
    is_padded = like.reserved is None and bool(np.isnan(numbers).any())
    stored = np.where(np.isnan(numbers), border, numbers).clip(limits.min, limits.max).astype(like.stored.dtype)
    return stored, border if is_padded else None


def _others(series: DicomSeries, frame: DicomFrame) -> list[tuple[FileDataset, int | None]]:
    """The other frames that a cut across them comes from."""
    headers = {path: read_dicom(path, pixels=False) for path in {each.path for each in series.frames}}
    return [(headers[each.path], each.index) for each in series.frames if each != frame]
