# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The pixels of a file in the numbers that it stores, and the same file with other pixels.

For PNG, NIfTI and uncompressed DICOM, as encryption writes them.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from typing import Any

import nibabel
import numpy as np
import png
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from monai_advenc.data.dicom.derivation import as_lenient_as_the_source
from monai_advenc.errors import ImageError

Stored = NDArray[Any]


def stored_pixels(content: bytes, name: str) -> Stored:
    """The stored numbers of a file, in the type and order in which it stores them.

    Args:
        content: The file's bytes; intact.
        name: Its name, whose ending says what it is.

    Raises:
        ImageError: It is no file that encryption writes.
    """
    return _kind_of(name)[0](content)


def with_stored_pixels(content: bytes, name: str, pixels: Stored) -> bytes:
    """The file with other numbers of the same type and shape; all else stays.

    Args:
        content: The file's bytes.
        name: Its name.
        pixels: What :func:`stored_pixels` returned for a file of the same kind.

    Raises:
        ImageError: It is no file that encryption writes.
    """
    return _kind_of(name)[1](content, pixels)


def _kind_of(name: str) -> tuple[Callable[[bytes], Stored], Callable[[bytes, Stored], bytes]]:
    for ending, functions in _KINDS.items():
        if name.endswith(ending):
            return functions
    raise ImageError(f"{name} is none of {', '.join(_KINDS)}, which encryption writes; give the files that it wrote")


def _read_png(content: bytes) -> Stored:
    width, height, rows, info = png.Reader(bytes=content).read()
    kind = np.uint16 if info["bitdepth"] > 8 else np.uint8
    return np.array([np.asarray(row) for row in rows], kind).reshape(height, width, info["planes"])


def _write_png(content: bytes, pixels: Stored) -> bytes:
    height, width, channels = pixels.shape
    buffer = io.BytesIO()
    writer = png.Writer(width, height, greyscale=channels == 1, bitdepth=8 * pixels.itemsize, compression=6)
    writer.write(buffer, pixels.reshape(height, width * channels))
    return buffer.getvalue()


def _nifti_place(raw: bytes) -> tuple[np.dtype[Any], int, int]:
    """Type, first byte and number of the values of an uncompressed NIfTI file."""
    length = int.from_bytes(raw[:4], "little")
    order = "<" if length in (348, 540) else ">"
    is_second = length == 540 or int.from_bytes(raw[:4], "big") == 540
    kind = nibabel.Nifti2Header if is_second else nibabel.Nifti1Header
    header = kind.from_fileobj(io.BytesIO(raw), check=False)
    return header.get_data_dtype().newbyteorder(order), int(header["vox_offset"]), int(np.prod(header.get_data_shape()))


def _read_nifti(raw: bytes) -> Stored:
    kind, start, count = _nifti_place(raw)
    return np.frombuffer(raw, kind, count, start)


def _write_nifti(raw: bytes, pixels: Stored) -> bytes:
    kind, start, count = _nifti_place(raw)
    return raw[:start] + pixels.astype(kind).tobytes() + raw[start + count * kind.itemsize :]


def _parse(content: bytes) -> FileDataset:
    with as_lenient_as_the_source():
        return pydicom.dcmread(io.BytesIO(content))


def _read_dicom(content: bytes) -> Stored:
    dataset = _parse(content)
    count = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
    return np.frombuffer(dataset.PixelData, f"<u{int(dataset.BitsAllocated) // 8}", count)


def _write_dicom(content: bytes, pixels: Stored) -> bytes:
    dataset, data, buffer = _parse(content), pixels.tobytes(), io.BytesIO()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    with as_lenient_as_the_source():
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


_KINDS: dict[str, tuple[Callable[[bytes], Stored], Callable[[bytes, Stored], bytes]]] = {
    ".png": (_read_png, _write_png),
    ".nii.gz": (
        lambda content: _read_nifti(gzip.decompress(content)),
        lambda content, pixels: gzip.compress(_write_nifti(gzip.decompress(content), pixels), 6, mtime=0),
    ),
    ".nii": (_read_nifti, _write_nifti),
    ".dcm": (_read_dicom, _write_dicom),
}
