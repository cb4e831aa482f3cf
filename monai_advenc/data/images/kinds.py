# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Say of what kind images are: file formats and the modality of DICOM, but no names of files or folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

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

_KIND: Final = re.compile(rf"{'|'.join(sorted(set(_FORMATS.values())))}|DICOM [A-Z]{{1,16}}(/[A-Z]{{1,16}}){{0,49}}")

_MODALITY: Final = re.compile(
    "BI|BMD|CFM|CR|CT|DG|DMS|DX|ES|GM|IO|IVOCT|IVUS|LS|MG|MR|NM|OCT|OP|OPM|OPT|OPTBSV|OPTENF|OPV|OSS|PA|PT|PX|RF|RG|"
    "RTIMAGE|SM|TG|US|XA|XC"
)
"""Modalities of images that DICOM defines (PS3.3, C.7.3.1.1.1)."""

_FILES_READ: Final = 100
"""Of so many DICOM files at most, spread evenly, the modality is read."""


def kinds_of(paths: Iterable[Path]) -> str:
    """The formats of image files by their endings, sorted: ``DICOM CT/MR, PNG``.

    DICOM is followed by the modalities of up to a hundred of its files; only those that DICOM defines are named.
    """
    found: dict[str, list[Path]] = {}
    for path in paths:
        name = path.name.lower()
        kind = next((each for suffix, each in _FORMATS.items() if name.endswith(suffix)), "")
        found.setdefault(kind, []).append(path)
    found.pop("", None)  # Rows of a MedMNIST file.
    return ", ".join(_with_modalities(files) if kind == "DICOM" else kind for kind, files in sorted(found.items()))


def are_kinds(text: str) -> bool:
    """Whether a text is one of :func:`kinds_of`, and not any text of a file from elsewhere."""
    each = text.split(", ")
    return len(each) <= len(_FORMATS) and all(map(_KIND.fullmatch, each))


def _with_modalities(files: Sequence[Path]) -> str:
    # At most so many, the first and the last among them.
    chosen = {round(place) for place in np.linspace(0, len(files) - 1, min(_FILES_READ, len(files)))}
    # Anything else may be text about somebody.
    found = sorted(filter(_MODALITY.fullmatch, {_modality_of(files[place]) for place in chosen}))
    return f"DICOM {'/'.join(found)}" if found else "DICOM"


def _modality_of(path: Path) -> str:
    try:
        with quiet_parsers():
            header = parse_dicom(path, stop_before_pixels=True, specific_tags=["Modality"])
            return str(header.get("Modality") or "")
    except Exception:  # noqa: BLE001 - Parsers raise any exception for damaged files, which reading reports.
        return ""
