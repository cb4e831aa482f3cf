# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read a NIfTI file as it is stored, and write it with other voxels: every byte of the header stays."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray

from monai_advenc.data.nifti import read_volume
from monai_advenc.data.nifti_content import image_in, read_whole
from monai_advenc.data.quiet_parsers import quiet_parsers
from monai_advenc.errors import VolumeError

STORED_SUFFIXES = (".nii.gz", ".nii")
"""Single files: what can be written back."""

_KINDS = "iuf"

_LARGEST = 2**53
"""Larger whole numbers are not all floats: a slope could not be applied to them."""

_TEXT_FIELDS = ("data_type", "db_name", "descrip", "aux_file", "intent_name")

_BYTE_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")


@dataclass(frozen=True)
class NiftiFile:
    """A scalar volume on the numbers that its file stores.

    Attributes:
        stored: ``(X, Y, Z)``, as stored, before the header's slope and intercept.
        affine: 4x4, from voxel indices to RAS+ world coordinates in mm.
        slope: The header's ``scl_slope``; 1 if the values are not scaled.
        content: The bytes of the file, not compressed.
        offset: Where the voxels begin among them.
        path: The file.
        other_form: 4x4, in mm: the qform where it is not what ``affine`` is; see :class:`Volume`.
        assumed: The orientation that was assumed, because the file states none.
    """

    stored: NDArray[Any]
    affine: NDArray[np.float64]
    slope: float
    content: bytes
    offset: int
    path: Path
    other_form: NDArray[np.float64] | None = None
    assumed: str | None = None

    def encode(self, stored: NDArray[Any], *, keep_text: bool = True) -> bytes:
        """The same file with other stored values; compressed if it was, without a time.

        Args:
            stored: ``(X, Y, Z)``.
            keep_text: Whether all bytes around the voxels stay. Otherwise free text, extensions (which may hold a whole
                DICOM header) and what follows the voxels go: they may hold names, places and times.
        """
        voxels = stored.astype(self.stored.dtype).tobytes(order="F")
        before, after = self.content[: self.offset], self.content[self.offset + len(voxels) :]
        content = before + voxels + after if keep_text else _without_text(before) + voxels
        is_compressed = self.path.name.lower().endswith(".gz")
        return gzip.compress(content, compresslevel=6, mtime=0) if is_compressed else content


def _without_text(head: bytes) -> bytes:
    """The bytes before the voxels, with text and extensions zeroed."""
    is_second = nibabel.nifti2.header_dtype.itemsize in (int.from_bytes(head[:4], order) for order in _BYTE_ORDERS)
    fields = nibabel.nifti2.header_dtype if is_second else nibabel.nifti1.header_dtype
    emptied = bytearray(head)
    for name, (kind, start, *_) in (fields.fields or {}).items():
        if name in _TEXT_FIELDS:
            emptied[start : start + kind.itemsize] = bytes(kind.itemsize)
    # From here on: whether there are extensions, and the extensions.
    emptied[fields.itemsize :] = bytes(max(0, len(emptied) - fields.itemsize))
    return bytes(emptied)


def read_nifti_file(path: Path, assumed: str | None = None) -> NiftiFile:
    """Read a NIfTI file (NIfTI-1 or 2) so that it can be written back.

    Args:
        path: The file.
        assumed: As for :func:`monai_advenc.data.nifti.read_volume`.

    Raises:
        VolumeError: As :func:`monai_advenc.data.nifti.read_volume`; or the file is no single NIfTI file.
    """
    if not path.name.lower().endswith(STORED_SUFFIXES):
        raise VolumeError(f"{path} cannot be written back: expected .nii or .nii.gz; convert it first")
    volume = read_volume(path, assumed)  # Reports any problem of the file.
    content = read_whole(path)
    with quiet_parsers():
        image = image_in(content, path)
    if image.get_data_dtype().kind not in _KINDS:
        raise VolumeError(f"{path} holds {image.get_data_dtype()} voxels; expected NIfTI with whole or real numbers")
    voxels: Any = image.dataobj
    stored = np.asarray(voxels.get_unscaled()).reshape(volume.voxels.shape)
    if stored.dtype.kind in "iu" and max(-int(stored.min()), int(stored.max())) > _LARGEST:
        raise VolumeError(f"{path} stores whole numbers beyond 2^53, which no reader can scale; convert it first")
    return NiftiFile(
        stored=stored,
        affine=volume.affine,
        slope=float(voxels.slope),
        content=content,
        offset=int(voxels.offset),
        path=path,
        other_form=volume.other_form,
        assumed=volume.assumed,
    )
