# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Recognize volumes of formats that are not read here, by their first bytes, so that a message can name them."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Final

from monai_advenc.data.dicom.folder import DICOM_SUFFIXES
from monai_advenc.data.nifti import NIFTI_SUFFIXES
from monai_advenc.errors import VolumeError

OTHER_VOLUMES: Final = (".nrrd", ".nhdr", ".mha", ".mhd", ".mnc", ".mnc.gz", *DICOM_SUFFIXES)
"""Suffixes of volumes that are no NIfTI files; DICOM among them."""

VOLUME_SUFFIXES: Final = (*NIFTI_SUFFIXES, *OTHER_VOLUMES)

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


def foreign_volume(folder: Path) -> str | None:
    """The problem of the first file below a folder whose format is not read here; ``None`` if there is none."""
    for path in sorted(folder.rglob("*")):
        if path.name.lower().endswith(VOLUME_SUFFIXES) and (found := other_format(path)):
            return f"{path} is {found}; expected NIfTI or DICOM: convert it to NIfTI first"
    return None
