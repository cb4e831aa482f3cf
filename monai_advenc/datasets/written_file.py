# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading back what encryption wrote, format by format, as whoever receives it would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from monai_advenc.datasets.image_file import read_image
from monai_advenc.errors import ImageError

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
