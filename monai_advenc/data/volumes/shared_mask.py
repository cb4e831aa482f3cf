# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encode the mask of a volume so that it lies on the volume as it is written."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from monai_advenc.data.dicom.derivation import encode_dicom
from monai_advenc.data.dicom.derived_mask import DerivedImages, derive_mask, read_mask_object
from monai_advenc.data.dicom.file import read_dicom
from monai_advenc.data.dicom.provenance import Derivation
from monai_advenc.data.nifti import read_mask
from monai_advenc.data.nifti_file import STORED_SUFFIXES, read_nifti_file
from monai_advenc.data.volumes.names import stem
from monai_advenc.data.volumes.reading import nifti_mask_on
from monai_advenc.data.volumes.same_grid import require_same_grid
from monai_advenc.data.volumes.stored_volume import StoredVolume, Written
from monai_advenc.errors import MaskError

MASK_ENDING = "_seg"
"""Ends the name of the mask of a NIfTI volume; next to a DICOM series the mask is called ``seg``."""

_LARGEST = np.iinfo(np.int32).max


def encode_mask_of(
    mask: Path, volume: StoredVolume, written: Sequence[Path], derivation: Derivation, assumed: str | None = None
) -> Written:
    """The mask of a volume as a file that fits the volume's own files.

    A NIfTI mask keeps its voxels, type and header (without text, if the identity goes). A DICOM segmentation or
    structure set refers to the written images instead of their sources.

    Args:
        mask: The file of the mask.
        volume: The volume.
        written: The files of the volume, in the order of its slices; only DICOM is read.
        derivation: How the images were made.
        assumed: Orientation of NIfTI files that state none.

    Returns:
        Suffix after the name of the volume, and content.

    Raises:
        VolumeError: The mask cannot be read; as :class:`MaskError` where it lies elsewhere than the volume.
    """
    place = "/seg" if volume.series is not None else MASK_ENDING
    if stem(mask):
        require_same_grid(volume.grid, nifti_mask_on(mask, volume.grid, assumed))
        return _encode_nifti(mask, place, derivation, assumed)
    if volume.series is None:
        raise MaskError(f"the mask {mask} is DICOM, its image {volume.grid.source} NIfTI; give both in one format")
    source = read_mask_object(mask)
    headers = [read_dicom(path, pixels=False) for path in written]
    frames = [
        (uid, frame, str(header.SOPClassUID), str(header.SOPInstanceUID))
        for (uid, frame), header in zip(volume.instances, headers, strict=True)
    ]
    images = DerivedImages(frames, (volume.series.series_uid, str(headers[0].SeriesInstanceUID)), headers[0])
    return f"{place}.dcm", encode_dicom(derive_mask(source, derivation, images, mask))


def _encode_nifti(mask: Path, place: str, derivation: Derivation, assumed: str | None) -> Written:
    keep_text = derivation.identity is None or derivation.identity.choice == "keep"
    suffix = next((each for each in STORED_SUFFIXES if mask.name.lower().endswith(each)), None)
    if suffix is not None:
        file = read_nifti_file(mask, assumed)
        return place + suffix, file.encode(file.stored, keep_text=keep_text)
    # A pair, or MGH: the same voxels in one NIfTI file.
    read = read_mask(mask, assumed)
    if not (np.isfinite(read.voxels) & (np.abs(read.voxels) <= _LARGEST)).all():
        raise MaskError(f"the mask {mask} holds values that are no labels; expected whole numbers: write it again")
    image = nibabel.Nifti1Image(read.voxels.astype(np.int32), read.affine)
    return f"{place}.nii.gz", gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)
