# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read a case's image and its tumor on the image's grid, from NIfTI or DICOM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel.orientations
import numpy as np

from monai_advenc.data.dicom.file import kind_of, read_dicom, reading
from monai_advenc.data.dicom.segmentation import read_dicom_seg
from monai_advenc.data.dicom.series import DicomSeries, read_dicom_series
from monai_advenc.data.dicom.structure_set import read_rtstruct
from monai_advenc.data.nifti import read_mask, read_volume
from monai_advenc.data.tumor import tumor_voxels
from monai_advenc.data.volume import Volume, orientation_of
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.names import stem
from monai_advenc.data.volumes.other_formats import require_no_other_format
from monai_advenc.errors import DatasetError, MaskError


def read_case(case: Case, settings: SliceSettings) -> tuple[Volume | DicomSeries, Volume]:
    """Read one case.

    Args:
        case: NIfTI or DICOM.
        settings: Which labels or segments of the mask are tumor.

    Returns:
        The image, and its tumor as :func:`read_tumor` gives it.

    Raises:
        DatasetError: The patient's folder holds several series or masks to choose from.
        VolumeError: The image cannot be read; as :class:`MaskError` when the mask is missing, empty, elsewhere, or has
            no such segment.
    """
    mask = mask_of(case)
    image = read_case_image(case, settings)
    return image, read_tumor(mask, image, settings)


def read_case_image(case: Case, settings: SliceSettings) -> Volume | DicomSeries:
    """Read the image of a case alone.

    Raises:
        VolumeError: It cannot be read.
    """
    require_no_other_format(case.image)
    if stem(case.image):
        return read_volume(case.image, settings.assume_orientation)
    return read_dicom_series(case.image, series_uid=case.series_uid)


def mask_of(case: Case) -> Path:
    """The mask of a case, before anything is read.

    Raises:
        DatasetError: The patient's folder holds several series or masks to choose from.
        MaskError: There is no mask.
    """
    if case.problem is not None:
        raise DatasetError(case.problem)
    if case.mask is None:
        raise MaskError(
            f"no mask next to {case.image}: expected seg.nii.gz, mask.nii.gz or label.nii.gz, or with DICOM images a "
            "segmentation (SEG) or structure set (RTSTRUCT); add it"
        )
    return case.mask


def read_tumor(mask: Path, image: Volume | DicomSeries, settings: SliceSettings) -> Volume:
    """Read the mask of an image on the image's grid.

    Args:
        mask: NIfTI, or with DICOM images a DICOM segmentation or structure set.
        image: The image; its voxels only show whether image and mask were exchanged.
        settings: Which labels or segments of the mask are tumor.

    Returns:
        The tumor, ``(X, Y, Z)`` int32, 1 inside.

    Raises:
        VolumeError: The mask cannot be read; as :class:`MaskError` when it is missing, empty, elsewhere, or has no such
            segment.
    """
    return tumor_of(read_labels(mask, image, settings), image, settings)


def read_labels(mask: Path, image: Volume | DicomSeries, settings: SliceSettings) -> Volume:
    """Read the mask of an image on the image's grid, with the values that it has; of DICOM, 1 inside the tumor.

    Raises:
        VolumeError: As :func:`read_tumor`, but for values that are no tumor.
    """
    if stem(mask):
        require_no_other_format(mask)
        volume = image.volume if isinstance(image, DicomSeries) else image
        _require_no_segments(mask, settings)
        return nifti_mask_on(mask, volume, settings.assume_orientation)
    if isinstance(image, DicomSeries):
        return _read_dicom(mask, image, settings)
    raise MaskError(f"the mask {mask} is DICOM, its image {image.source} NIfTI; give both in one format")


def tumor_of(labels: Volume, image: Volume | DicomSeries, settings: SliceSettings) -> Volume:
    """The tumor of a mask that :func:`read_labels` has read: 1 inside.

    Raises:
        MaskError: As :func:`monai_advenc.data.tumor.tumor_voxels`.
    """
    volume = image.volume if isinstance(image, DicomSeries) else image
    # The reader of DICOM masks has chosen the segments already.
    wanted = settings.labels if stem(Path(labels.source)) else None
    tumor = tumor_voxels(labels.voxels, labels.source, wanted, volume.voxels)
    return replace(labels, voxels=tumor.astype(np.int32))


def _require_no_segments(path: Path, settings: SliceSettings) -> None:
    if settings.segments is not None:
        raise MaskError(
            f"the mask {path} is NIfTI, which has no segment names; choose labels by number with --tumor-labels"
        )


def nifti_mask_on(path: Path, image: Volume, assumed: str | None) -> Volume:
    """Read a NIfTI mask with its axes in the order of the image's: converters flip axes, and the grid stays the same.

    Both grids are compared with each other, not with the patient, where the axes of oblique volumes are ambiguous.
    """
    mask = read_mask(path, assumed)
    change = orientation_of(np.linalg.inv(image.affine) @ mask.affine)
    if np.isnan(change).any():
        return mask  # Another grid altogether, which is refused where both grids are compared.
    turn = nibabel.orientations.inv_ornt_aff(change, mask.voxels.shape)
    voxels = np.ascontiguousarray(nibabel.orientations.apply_orientation(mask.voxels, change))
    other = None if mask.other_form is None else mask.other_form @ turn
    return replace(mask, voxels=voxels, affine=mask.affine @ turn, other_form=other)


def _read_dicom(path: Path, series: DicomSeries, settings: SliceSettings) -> Volume:
    header = read_dicom(path, pixels=False)
    with reading(path):
        read = read_rtstruct if kind_of(header) == "contours" else read_dicom_seg
    return read(path, series, segments=settings.segments, numbers=settings.labels)
