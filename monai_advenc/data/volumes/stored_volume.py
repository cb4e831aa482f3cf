# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read, change and encode a volume as the slices of one plane, in the stored values of its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel.orientations
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from monai_advenc.data.anatomical_planes import PLANES, plane_across
from monai_advenc.data.dicom.derivation import derive, encode_dicom
from monai_advenc.data.dicom.file import drop_pixels
from monai_advenc.data.dicom.frame import DicomFrame
from monai_advenc.data.dicom.provenance import Derivation
from monai_advenc.data.dicom.series import DicomSeries, SeriesFrames, read_dicom_frames
from monai_advenc.data.dicom.slice import stored_slices
from monai_advenc.data.nifti_file import NiftiFile, read_nifti_file
from monai_advenc.data.stored_slice import StoredSlice
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.names import stem
from monai_advenc.data.volumes.other_formats import require_no_other_format
from monai_advenc.data.volumes.plane import chosen_plane
from monai_advenc.data.volumes.reading import read_tumor
from monai_advenc.data.volumes.same_grid import require_same_grid
from monai_advenc.errors import ImageError, MaskError

Changes = Mapping[int, NDArray[Any]]
"""New stored values ``(H, W)`` of some slices, by index."""

Written = tuple[str, bytes]
"""Suffix of a file's name after the name of the volume, and the file's content."""


@dataclass(frozen=True)
class StoredVolume:
    """The slices of a volume.

    Attributes:
        grid: The stored values on the file's own grid; what a mask must lie on.
        plane: Direction of the slices.
        slices: The slices as radiologists read them, in the order of the RAS axis.
        encode: From changed slices and a derivation to the files: every slice, changed or not.
        sources: The files that were read.
        series: The DICOM series, its volume being the grid; ``None`` for NIfTI.
        instances: SOP Instance UID and index of the frame of each slice; empty for NIfTI.
    """

    grid: Volume
    plane: str
    slices: tuple[StoredSlice, ...]
    encode: Callable[[Changes, Derivation], list[Written]]
    sources: tuple[Path, ...]
    series: DicomSeries | None = None
    instances: tuple[tuple[str, int | None], ...] = ()

    def slices_of(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """An array on the same grid as ``(N, H, W)``: the slices in the same order."""
        oriented = replace(self.grid, voxels=voxels, padding=None).oriented(PLANES[self.plane])
        return oriented.voxels.transpose(2, 0, 1)


@dataclass(frozen=True)
class StoredCase:
    """A case's volume and its tumor.

    Attributes:
        volume: The slices as stored.
        tumor: ``(N, H, W)``, bool; ``None`` if the case has no mask.
    """

    volume: StoredVolume
    tumor: NDArray[np.bool_] | None

    def slices_to_encrypt(self, choice: str, name: str) -> list[int]:
        """Indices of the slices with tumor, or of all.

        Raises:
            MaskError: Those with tumor are wanted and there is no mask.
        """
        if choice == "all":
            return list(range(len(self.volume.slices)))
        if self.tumor is None:
            raise MaskError(f"no mask next to {name}: add it, or encrypt with --slices all")
        return [int(k) for k in np.flatnonzero(self.tumor.any(axis=(1, 2)))]


def is_dicom(case: Case) -> bool:
    """Whether a case's image is a DICOM series."""
    return not stem(case.image)


def read_stored_volume(
    image: Path, series_uid: str | None = None, plane: str = "acquired", assumed: str | None = None
) -> StoredVolume:
    """Read a NIfTI file, or a folder or file of DICOM, as it is stored.

    Raises:
        VolumeError: It cannot be read, or not written back.
        ImageError: DICOM of another plane, or whose values are no linear function of stored whole numbers.
    """
    require_no_other_format(image)
    if stem(image):
        return nifti_slices(read_nifti_file(image, assumed), plane)
    return dicom_slices(read_dicom_frames(image, series_uid=series_uid), plane)


def read_stored_case(case: Case, plane: str, tumor: SliceSettings) -> StoredCase:
    """Read a case.

    Args:
        case: The case.
        plane: Direction of the slices, or ``"acquired"``.
        tumor: Which labels or segments are tumor, and the orientation of files that state none.

    Raises:
        VolumeError: Image or mask cannot be read; as :class:`MaskError` when the mask lies elsewhere or is empty.
        ImageError: As :func:`read_stored_volume`.
    """
    volume = read_stored_volume(case.image, case.series_uid, plane, tumor.assume_orientation)
    if case.mask is None:
        return StoredCase(volume, None)
    mask = read_tumor(case.mask, volume.series or volume.grid, tumor)
    require_same_grid(volume.grid, mask)
    return StoredCase(volume, volume.slices_of(mask.voxels) != 0)


def nifti_slices(file: NiftiFile, choice: str = "acquired") -> StoredVolume:
    """The slices of a NIfTI file in a plane, or as acquired."""
    grid = Volume(file.stored, file.affine, str(file.path), other_form=file.other_form, assumed=file.assumed)
    plane = chosen_plane(choice, grid)
    oriented = grid.oriented(PLANES[plane]).voxels
    suffix = ".nii.gz" if file.path.name.lower().endswith(".gz") else ".nii"

    def encode(changes: Changes, derivation: Derivation) -> list[Written]:
        keep_text = derivation.identity is None or derivation.identity.choice == "keep"
        return [(suffix, file.encode(_put_back(grid, plane, changes), keep_text=keep_text))]

    slices = tuple(
        StoredSlice(oriented[:, :, k], f"slice {k} of {file.path}", rising=file.slope > 0)
        for k in range(oriented.shape[2])
    )
    return StoredVolume(grid, plane, slices, encode, (file.path,))


def dicom_slices(found: SeriesFrames, plane: str = "acquired") -> StoredVolume:
    """The slices of a DICOM series, which are its frames.

    Args:
        found: The frames; their files are read here, once.
        plane: The plane that the frames must have; ``"acquired"``: whichever they have.

    Raises:
        ImageError: The frames are of another plane, or cannot be written.
        VolumeError: A file cannot be decoded.
    """
    frames, name = found.frames, found.source
    as_stored: dict[DicomFrame, StoredSlice] = {}
    headers: dict[Path, FileDataset] = {}
    for dataset, members in found.files():
        as_stored |= zip(members, stored_slices(dataset, members), strict=True)
        drop_pixels(dataset)
        headers[members[0].path] = dataset
    in_order = [as_stored[frame] for frame in frames]
    grid = Volume(np.stack([each.stored.T for each in in_order], axis=2), found.affine, name, slice_axis=2)
    own, is_rising = plane_across(found.affine, 2)
    if plane not in ("acquired", own):
        raise ImageError(f"{name} has {own} slices, each a separate image; give --plane {own}, or leave out --plane")
    places = range(len(frames)) if is_rising else range(len(frames))[::-1]
    oriented = grid.oriented(PLANES[own]).voxels
    slices = tuple(replace(in_order[place], stored=oriented[:, :, k]) for k, place in enumerate(places))

    def encode(changes: Changes, derivation: Derivation) -> list[Written]:
        voxels = _put_back(grid, own, changes)
        changed, same = derivation.of_series(), derivation.of_series().unchanged()
        written = []
        for k, place in enumerate(places):
            frame, how = frames[place], changed if k in changes else same
            derived = derive(headers[frame.path], voxels[:, :, place].T, how, frame=frame.index)
            written.append((f"/{k:04d}.dcm", encode_dicom(derived)))
        return written

    instances = tuple((frames[place].sop_instance_uid, frames[place].index) for place in places)
    return StoredVolume(grid, own, slices, encode, tuple(headers), found.series(grid), instances)


def _put_back(grid: Volume, plane: str, changes: Changes) -> NDArray[Any]:
    """The stored values ``(X, Y, Z)`` with the changed slices in their places."""
    oriented = grid.oriented(PLANES[plane])
    voxels = oriented.voxels.copy()
    for k, values in changes.items():
        voxels[:, :, k] = values
    axes = "".join(nibabel.orientations.aff2axcodes(grid.affine))
    return replace(oriented, voxels=voxels).oriented(axes).voxels
