# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Recognize images, masks and modalities by file name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from monai_advenc.data.nifti import NIFTI_SUFFIXES

IMAGE_NAMES = ("image", "img", "volume")
MASK_NAMES = ("seg", "mask", "label", "segmentation")

BRATS_MODALITIES = ("t1ce", "t1c", "t1gd")
"""Contrast-enhanced T1, where tumors stand out; the BraTS releases spell it in different ways."""

_MODALITY = re.compile(r"[_-](t1|t1ce|t1c|t1n|t1gd|t2|t2w|t2f|flair)$", re.IGNORECASE)


def stem(path: Path) -> str:
    """The name without its suffix; empty for hidden files and files that are no NIfTI volumes."""
    suffix = next((suffix for suffix in NIFTI_SUFFIXES if path.name.lower().endswith(suffix)), None)
    return "" if suffix is None or path.name.startswith(".") else path.name[: -len(suffix)]


def names_beside(name: str, endings: Sequence[str]) -> list[str]:
    """``name_seg``, ``name-seg`` and so on."""
    return [f"{name}{dash}{ending}" for ending in endings for dash in "_-"]


def is_mask_name(name: str) -> bool:
    """Whether a name without suffix is that of a mask."""
    return name.lower() in MASK_NAMES or name.lower().endswith(tuple(names_beside("", MASK_NAMES)))


def without_modality(name: str) -> str:
    """Strip the modality from a BraTS name: ``BraTS_1`` of ``BraTS_1_t1ce``; other names stay as they are."""
    return _MODALITY.sub("", name)


def has_other_modalities(name: str, names: Sequence[str]) -> bool:
    """Whether a file is one of several modalities of a case, by BraTS names."""
    case = without_modality(name)
    return case != name and sum(without_modality(other) == case != other for other in names) > 1


def files_named(folder: Path, names: Sequence[str]) -> list[Path]:
    """The NIfTI files with one of these names, in capitals or not, in the order of ``names``; a pair by its header."""
    wanted = [name.lower() for name in names]
    found = [path for path in volumes_in(folder) if stem(path).lower() in wanted]
    return sorted(found, key=lambda path: wanted.index(stem(path).lower()))


def files_of_first_name(folder: Path, names: Sequence[str]) -> list[Path]:
    """The NIfTI files with the first of these names that exists; several if they differ only in suffix."""
    found = files_named(folder, names)
    return [path for path in found if stem(path).lower() == stem(found[0]).lower()]


def volumes_in(folder: Path) -> list[Path]:
    """The NIfTI files in a folder, sorted; of a pair (``x.hdr``, ``x.img``) the header stands for both."""
    files = [path for path in sorted(folder.iterdir()) if stem(path) and path.is_file()]
    headers = {path.with_suffix("").name for path in files if path.suffix.lower() == ".hdr"}
    return [path for path in files if path.suffix.lower() != ".img" or path.with_suffix("").name not in headers]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; hidden ones left out."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
