# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read back the files that encryption wrote, as a recipient would, once they are sure to be those.

PNG and NIfTI are decoded by other code than that which reads originals, so that a fault of either one shows when files
are verified against their originals.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import png
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_advenc.data.images.reading import read_image
from monai_advenc.data.images.writing import SLICE_FORMATS
from monai_advenc.data.records import FileRecord, ImageRecord
from monai_advenc.errors import ImageError, VerificationError
from monai_advenc.files.atomic import sha256_of


def read_record(folder: Path, record: ImageRecord) -> Tensor:
    """The pixels ``(C, H, W)`` of an image of a data set, from its first file, with the data set's own checks.

    Raises:
        ImageError: The file cannot be read.
        VerificationError: It is missing, has changed, or points outside the data set.
    """
    return read_files(folder, record)[0]


def read_files(folder: Path, record: ImageRecord) -> list[Tensor]:
    """The pixels of all files of an image, as :func:`read_record` reads the first."""
    return [_read(intact_file(folder, file), file.format) for file in record.files]


def _read(path: Path, file_format: str) -> Tensor:
    if file_format not in SLICE_FORMATS:
        raise ImageError(
            f"{path} has a format {file_format!r} that this version does not read, only {', '.join(SLICE_FORMATS)}; "
            "update monai-advenc"
        )
    if file_format not in _DECODERS:
        return read_image(path)
    try:
        pixels = _DECODERS[file_format](path)
    except (png.Error, OSError, EOFError, zlib.error, ValueError) as error:
        raise ImageError(
            f"cannot read {path}: damaged ({' '.join(str(error).split())[:200]}); write it again"
        ) from None
    if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise ImageError(f"{path} holds values outside [0, 1]; write it again")
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _decode_png(path: Path) -> NDArray[np.float32]:
    width, height, rows, info = png.Reader(bytes=path.read_bytes()).asDirect()
    levels = np.stack([np.asarray(row) for row in rows]).reshape(height, width, info["planes"])
    return np.asarray(levels.astype(np.float64) / (2 ** info["bitdepth"] - 1), np.float32)


def _decode_nifti(path: Path) -> NDArray[np.float32]:
    """Float32 by the header's fields at their places in the NIfTI-1 standard."""
    content = gzip.decompress(path.read_bytes())
    kind, offset = np.frombuffer(content, "<i2", 1, 70)[0], np.frombuffer(content, "<f4", 1, 108)[0]
    axes, *lengths = np.frombuffer(content, "<i2", 8, 40).tolist()
    if kind != _FLOAT32 or axes < 2:
        raise ValueError("expected float32")
    values = np.frombuffer(content, "<f4", int(np.prod(lengths[:axes])), int(offset))
    # Gray slices are (H, W, 1), colors (H, W, 1, 1, 3); the first axis runs fastest.
    return np.asarray(values.reshape((lengths[0], lengths[1], -1), order="F"), np.float32)


_FLOAT32 = 16
"""Its number as a datatype of NIfTI-1."""

_DECODERS = {"png8": _decode_png, "png16": _decode_png, "nifti": _decode_nifti}


def intact_file(folder: Path, file: FileRecord) -> Path:
    """Where a file of a data set lies, once it is sure that it is the one that was written.

    Raises:
        VerificationError: It is missing, has changed, cannot be read, or points outside the data set.
    """
    path = folder / file.path
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise VerificationError(f"{file.path} points outside the data set")
        if not path.is_file():
            raise VerificationError(f"{file.path} is missing")
        if sha256_of(path) != file.sha256:
            raise VerificationError(f"{file.path} has changed since it was written (checksum)")
    except (OSError, RuntimeError) as error:  # Links in a circle are a RuntimeError.
        problem = error.strerror if isinstance(error, OSError) else error
        raise VerificationError(f"{file.path} cannot be read ({problem})") from None
    return path
