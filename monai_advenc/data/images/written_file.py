# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading back what encryption wrote, format by format, as whoever receives it would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from monai_advenc.data.images.reading import read_image
from monai_advenc.data.records import FileRecord, ImageRecord
from monai_advenc.errors import ImageError, VerificationError
from monai_advenc.files.atomic import sha256_of

WrittenReader = Callable[[Path], Tensor]
"""From a file to its pixels ``(C, H, W)``, float32 in [0, 1]; raises :class:`ImageError`."""

WRITTEN_READERS: dict[str, WrittenReader] = dict.fromkeys(("nifti", "png16", "png8", "dicom"), read_image)
"""How each format that a manifest names is read; a new format adds a line."""


def read_written(path: Path, file_format: str) -> Tensor:
    """The pixels of a written file.

    Args:
        path: The file.
        file_format: Its format, as the manifest names it.

    Returns:
        ``(C, H, W)``, float32 in [0, 1].

    Raises:
        ImageError: The file cannot be read, or this version knows no such format.
    """
    if file_format not in WRITTEN_READERS:
        raise ImageError(
            f"{path} has a format {file_format!r} that this version does not read, only {', '.join(WRITTEN_READERS)}; "
            "update monai-advenc"
        )
    return WRITTEN_READERS[file_format](path)


def read_record(folder: Path, record: ImageRecord) -> Tensor:
    """The pixels ``(C, H, W)`` of an image of a data set, from its first file, with the data set's own checks.

    Raises:
        ImageError: The file cannot be read.
        VerificationError: It is missing, has changed, or points outside the data set.
    """
    return _read_files(folder, record)[0]


def _read_files(folder: Path, record: ImageRecord) -> list[Tensor]:
    """The pixels of all files of an image."""
    return [read_written(intact_file(folder, file), file.format) for file in record.files]


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
