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
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cross_section import SliceSettings, tumor_of
from monai_advenc.data.volumes.names import stem
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
    if case.problem is not None:
        raise DatasetError(case.problem)
    if case.mask is None:
        raise MaskError(
            f"no mask next to {case.image}: expected seg.nii.gz, mask.nii.gz or label.nii.gz, or with DICOM images a "
            "segmentation (SEG) or structure set (RTSTRUCT); add it"
        )
    is_nifti = bool(stem(case.image))
    image = read_volume(case.image) if is_nifti else read_dicom_series(case.image, series_uid=case.series_uid)
    return image, read_tumor(case.mask, image, settings)


def read_tumor(mask: Path, image: Volume | DicomSeries, settings: SliceSettings) -> Volume:
    """Read the mask of an image on the image's grid.

    Args:
        mask: NIfTI, or with DICOM images a DICOM segmentation or structure set.
        image: The image; its voxels are not used.
        settings: Which labels or segments of the mask are tumor.

    Returns:
        The tumor, ``(X, Y, Z)`` int32, 1 inside.

    Raises:
        VolumeError: The mask cannot be read; as :class:`MaskError` when it is missing, empty, elsewhere, or has no such
            segment.
    """
    if stem(mask):
        return _nifti_tumor(mask, image.volume if isinstance(image, DicomSeries) else image, settings)
    if not isinstance(image, DicomSeries):
        raise MaskError(f"the mask {mask} is DICOM, its image {image.source} NIfTI; give both in one format")
    return _dicom_tumor(mask, image, settings)


def _nifti_tumor(path: Path, image: Volume, settings: SliceSettings) -> Volume:
    if settings.segments is not None:
        raise MaskError(
            f"the mask {path} is NIfTI, which has no segment names; choose labels by number with --tumor-labels"
        )
    # Converters flip axes; the same voxels in another order are still on the image's grid.
    mask = read_mask(path).oriented("".join(nibabel.orientations.aff2axcodes(image.affine)))
    return replace(mask, voxels=tumor_of(mask, settings.labels).astype(np.int32))


def _dicom_tumor(path: Path, series: DicomSeries, settings: SliceSettings) -> Volume:
    header = read_dicom(path, pixels=False)
    with reading(path):
        read = read_rtstruct if kind_of(header) == "contours" else read_dicom_seg
    mask = read(path, series, segments=settings.segments, numbers=settings.labels)
    return Volume(tumor_of(mask, None).astype(np.int32), mask.affine, mask.source)
