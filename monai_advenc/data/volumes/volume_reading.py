# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A case as it is encrypted whole: its slices as stored, and which of them show tumor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_advenc.data.dicom.series import read_dicom_series
from monai_advenc.data.nifti_file import read_nifti_file
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cross_section import SliceSettings, require_same_grid
from monai_advenc.data.volumes.names import stem
from monai_advenc.data.volumes.reading import read_case
from monai_advenc.data.volumes.stored_volume import StoredVolume, dicom_slices, nifti_slices
from monai_advenc.errors import MaskError


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
            raise MaskError(f"no mask beside {name}: add it, or encrypt with --slices all")
        return [int(k) for k in np.flatnonzero(self.tumor.any(axis=(1, 2)))]


def is_dicom(case: Case) -> bool:
    """Whether a case's image is a DICOM series."""
    return not stem(case.image)


def read_stored_volume(image: Path, series_uid: str | None = None, plane: str | None = None) -> StoredVolume:
    """Read a NIfTI file, or a folder or file of DICOM, as it is stored.

    Raises:
        VolumeError: It cannot be read, or not written back.
        ImageError: DICOM of another plane, or of values that are no line of whole numbers.
    """
    if stem(image):
        return nifti_slices(read_nifti_file(image), plane)
    series = read_dicom_series(image, series_uid=series_uid)
    return dicom_slices(series.frames, series.volume.affine, plane)


def read_stored_case(case: Case, plane: str | None, tumor: SliceSettings) -> StoredCase:
    """Read a case.

    Args:
        case: The case.
        plane: Direction of the slices; ``None``: axial, and for DICOM the plane of the series.
        tumor: Which labels or segments are tumor.

    Raises:
        VolumeError: Image or mask cannot be read; as :class:`MaskError` when the mask lies elsewhere or is empty.
        ImageError: As :func:`read_stored_volume`.
    """
    volume = read_stored_volume(case.image, case.series_uid, plane)
    if case.mask is None:
        return StoredCase(volume, None)
    _, mask = read_case(case, tumor)
    require_same_grid(volume.grid, mask)
    return StoredCase(volume, volume.slices_of(mask.voxels) != 0)
