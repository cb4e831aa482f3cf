# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Names of BraTS: ``<case>_t1ce.nii.gz`` (or ``-t1c``) with ``<case>_seg.nii.gz``, in any folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from monai_advenc.data.volumes.case import Case, with_distinct_ids
from monai_advenc.data.volumes.layouts.class_folders import ambiguous
from monai_advenc.data.volumes.layouts.source import Source
from monai_advenc.data.volumes.names import BRATS_MODALITIES, files_named, names_beside, stem, without_modality

DEPTH_IN_CLASSES = 3
"""Parts of a path below a folder for each class: class, case, file."""


def is_brats(folder: Path) -> bool:
    """Whether names of BraTS lie below a folder."""
    return any(_images(folder, modality) for modality in BRATS_MODALITIES)


def find_in_brats_names(source: Source) -> Sequence[Case]:
    """The cases by their images of one modality (``--channel``, or contrast-enhanced T1), with or without a table."""
    if not is_brats(source.folder):
        return ()
    found: list[Case] = []
    for modality in BRATS_MODALITIES if source.channel is None else (source.channel.lower(),):
        for path in _images(source.folder, modality):
            name = without_modality(stem(path))
            masks = [
                mask for each in (name, stem(path)) for mask in files_named(path.parent, names_beside(each, ("seg",)))
            ]
            found.append(Case(name, "", path, next(iter(masks), None), problem=ambiguous(masks)))
        if found:
            break
    parts = [case.image.relative_to(source.folder).parts for case in found]
    if not source.label_table.is_file() and all(len(each) == DEPTH_IN_CLASSES for each in parts):
        return with_distinct_ids(
            [replace(case, label=each[0]) for case, each in zip(found, parts, strict=True)], source.folder
        )
    class_of = source.class_lookup("names of BraTS")
    return [replace(case, label=class_of(case.id)) for case in with_distinct_ids(found, source.folder)]


def _images(folder: Path, modality: str) -> list[Path]:
    return sorted(folder.rglob(f"*[_-]{modality}.nii*"))
