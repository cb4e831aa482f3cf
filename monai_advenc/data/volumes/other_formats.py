# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Recognize volumes of formats that are not read here, by their first bytes, so that a message can name them."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Final

from monai_advenc.errors import VolumeError

_SIGNATURES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x89HDF\r\n\x1a\n", "MINC 2 or another HDF5 file"),
    (b"CDF\x01", "MINC 1 or another NetCDF file"),
    (b"CDF\x02", "MINC 1 or another NetCDF file"),
    (b"CDF\x05", "MINC 1 or another NetCDF file"),
    (b"NRRD000", "NRRD"),
    (b"ObjectType", "MetaImage"),
)

_LONGEST = max(len(signature) for signature, _ in _SIGNATURES)


def other_format(path: Path) -> str | None:
    """The format of a file that no reader here takes, compressed with gzip or not; ``None`` if it is none of these."""
    try:
        with path.open("rb") as file:
            start = file.read(_LONGEST)
        if start.startswith(b"\x1f\x8b"):
            with gzip.open(path) as unpacked:
                start = unpacked.read(_LONGEST)
    except (OSError, EOFError, zlib.error):
        return None  # Reading it reports the problem.
    return next((name for signature, name in _SIGNATURES if start.startswith(signature)), None)


def require_no_other_format(path: Path) -> None:
    """Raise :class:`VolumeError` that names the format of a file that is not read here; folders are never refused."""
    found = other_format(path)
    if found is not None:
        raise VolumeError(f"{path} is {found}; expected NIfTI or DICOM: convert it to NIfTI first")
