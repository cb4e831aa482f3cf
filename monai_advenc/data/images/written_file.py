# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read back the files that encryption wrote, as a recipient would, once they are sure to be those."""

from __future__ import annotations

from pathlib import Path

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
    return read_image(path)


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
