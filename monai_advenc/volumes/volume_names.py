# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The names that people give to the files of images and masks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from monai_advenc.volumes.nifti import NIFTI_SUFFIXES

IMAGE_NAMES = ("image", "img", "volume")
MASK_NAMES = ("seg", "mask", "label", "segmentation")


def stem(path: Path) -> str:
    """The name without its suffix; empty for hidden files and files that are no NIfTI volumes."""
    suffix = next((suffix for suffix in NIFTI_SUFFIXES if path.name.lower().endswith(suffix)), None)
    return "" if suffix is None or path.name.startswith(".") else path.name[: -len(suffix)]


def names_beside(name: str, endings: tuple[str, ...]) -> list[str]:
    """``name_seg``, ``name-seg`` and so on."""
    return [f"{name}{dash}{ending}" for ending in endings for dash in "_-"]


def is_mask_name(name: str) -> bool:
    """Whether a name without suffix says that the file is a mask."""
    return name.lower() in MASK_NAMES or name.lower().endswith(tuple(names_beside("", MASK_NAMES)))


def has_other_modalities(name: str, names: Sequence[str]) -> bool:
    """Whether a file is one of several of a case by BraTS names."""
    modality = re.compile(r"[_-](t1|t1ce|t1c|t1n|t1gd|t2|t2w|t2f|flair)$", re.IGNORECASE)
    case = modality.sub("", name)
    return case != name and sum(modality.sub("", other) == case != other for other in names) > 1


def first_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The NIfTI file with the first of ``names`` that there is one for."""
    by_name = {path.name.lower(): path for path in sorted(folder.iterdir(), reverse=True) if path.is_file()}
    wanted = (f"{name.lower()}{suffix}" for name in names for suffix in NIFTI_SUFFIXES)
    return next((by_name[name] for name in wanted if name in by_name), None)


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; hidden ones left out."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
