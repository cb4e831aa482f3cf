# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Say of what kind images are: file formats and the modality of DICOM, but no names of files or folders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from monai_advenc.data.dicom.file import parse_dicom
from monai_advenc.data.images.writing import DICOM_SUFFIX
from monai_advenc.data.quiet_parsers import quiet_parsers

_FORMATS: Final = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".nii.gz": "NIfTI",
    ".nii": "NIfTI",
    ".npy": "npy",
    DICOM_SUFFIX: "DICOM",
}

_KIND: Final = re.compile(rf"{'|'.join(sorted(set(_FORMATS.values())))}|DICOM [A-Z]{{1,16}}")


def kinds_of(paths: Iterable[Path]) -> str:
    """The formats of image files by their endings, sorted: ``JPEG, PNG``; DICOM with the modality of the first file."""
    found: dict[str, Path] = {}
    for path in paths:
        name = path.name.lower()
        found.setdefault(next((each for suffix, each in _FORMATS.items() if name.endswith(suffix)), ""), path)
    found.pop("", None)  # Rows of a MedMNIST file.
    return ", ".join(_with_modality(path) if kind == "DICOM" else kind for kind, path in sorted(found.items()))


def are_kinds(text: str) -> bool:
    """Whether a text is one of :func:`kinds_of`, and not any text of a file from elsewhere."""
    each = text.split(", ")
    return len(each) <= len(_FORMATS) and all(map(_KIND.fullmatch, each))


def _with_modality(path: Path) -> str:
    try:
        with quiet_parsers():
            modality = str(parse_dicom(path, stop_before_pixels=True, specific_tags=["Modality"]).get("Modality") or "")
    except Exception:  # noqa: BLE001 - Parsers raise any exception for damaged files, which reading reports.
        modality = ""
    # A code string of DICOM; anything else may be text about somebody.
    return f"DICOM {modality}" if modality.isascii() and modality.isalpha() and len(modality) <= 16 else "DICOM"
