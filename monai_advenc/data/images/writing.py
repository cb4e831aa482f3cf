# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Slices as files: NIfTI float32, 16-bit and 8-bit PNG; the same pixels always give the same bytes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable

import nibabel
import numpy as np
import png
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from monai_advenc.data.nifti_slice import SHOWN_AS_STORED, is_upright
from monai_advenc.data.volume import Affine
from monai_advenc.errors import ImageError, SettingsError

DICOM_SUFFIX = ".dcm"

SLICE_FORMATS = {"nifti": ".nii.gz", "png16": ".png", "png8": ".png", "dicom": DICOM_SUFFIX}
"""Suffix of each format that slices can be written in; DICOM is derived from DICOM, by a module of its own."""


def encode_image(image: Tensor, file_format: str, affine: Affine | None = None) -> bytes:
    """Encode one image.

    Args:
        image: ``(C, H, W)``, float32 in [0, 1], C 1 or 3. For PNG it is rounded to the nearest level.
        file_format: A name in :data:`SLICE_FORMATS`, not DICOM.
        affine: 4x4, from ``(h, w, 0)`` to RAS+ world coordinates in mm, for NIfTI; ``None``: the identity.

    Returns:
        The content of the file: no time, no name, nothing that differs between two runs.

    Raises:
        ImageError: Values outside [0, 1], NaN, or another number of channels.
        SettingsError: Unknown format.
    """
    if file_format not in _ENCODERS:
        raise SettingsError(f"unknown format {file_format!r}; choose one of {', '.join(_ENCODERS)}")
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ImageError(f"expected an image (1 or 3, H, W), got {tuple(image.shape)}")
    pixels = image.detach().cpu().numpy().astype(np.float32)
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:
        raise ImageError("expected pixels in [0, 1] to write; scale the intensities first")
    return _ENCODERS[file_format](pixels.transpose(1, 2, 0), affine)


def _encode_nifti(pixels: NDArray[np.float32], affine: Affine | None) -> bytes:
    height, width, channels = pixels.shape
    # Colors go to the fifth axis, where NIfTI keeps vectors; gray slices are volumes of one slice.
    values = pixels.reshape(height, width, 1, *([1, channels] if channels > 1 else []))
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    if not is_upright(np.array(image.header.get_sform(), dtype=np.float64)):  # As stored: in 32 bits.
        image.header["descrip"] = SHOWN_AS_STORED
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def _encode_png16(pixels: NDArray[np.float32], affine: Affine | None) -> bytes:
    levels = np.rint(pixels.astype(np.float64) * 65535).astype(np.uint16)
    height, width, channels = levels.shape
    writer = png.Writer(width, height, greyscale=channels == 1, bitdepth=16, compression=6)
    buffer = io.BytesIO()
    writer.write(buffer, levels.reshape(height, width * channels))
    return buffer.getvalue()


def _encode_png8(pixels: NDArray[np.float32], affine: Affine | None) -> bytes:
    levels = np.rint(pixels.astype(np.float64) * 255).astype(np.uint8)
    return _png_bytes(levels[:, :, 0] if levels.shape[2] == 1 else levels)


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """A binary mask ``(H, W)`` as an 8-bit PNG, 255 inside."""
    return _png_bytes(mask.astype(np.uint8) * 255)


def _png_bytes(levels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG")
    return buffer.getvalue()


_ENCODERS: dict[str, Callable[[NDArray[np.float32], Affine | None], bytes]] = {
    "nifti": _encode_nifti,
    "png16": _encode_png16,
    "png8": _encode_png8,
}
