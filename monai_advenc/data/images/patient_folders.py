# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Images of patients who have folders of their own in those of classes, as ``<class>/<patient>/0000.png``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from monai_advenc.data.dicom.file import parse_dicom
from monai_advenc.data.dicom.folder import dicom_objects
from monai_advenc.data.images.labeled_files import (
    OF_VOLUMES_TOO,
    images_in_class_folders,
    in_folders_of_classes,
    visible,
)
from monai_advenc.data.images.reading import MASK_SUFFIX, image_id, is_dicom_image, is_nifti_image
from monai_advenc.data.patients import PATIENT_TABLE
from monai_advenc.errors import DatasetError
from monai_advenc.files.names import folded, in_short
from monai_advenc.files.tables import LABEL_TABLE

_PART = re.compile(r"(train(ing)?|test(ing|set)?|val(id(ation)?)?|fold|split|external|internal|holdout)(?![a-z])")
"""How folders begin that hold a part of a data set, such as ``test_set`` and ``fold1``, and not a class."""

_OF_MASKS = frozenset(("mask", "masks", "label", "labels", "seg", "segmentation", "segmentations"))

_PROJECTIONS = frozenset(("CR", "DX", "MG", "IO", "PX", "RG", "OP", "XC", "GM", "ES"))
"""Modalities of DICOM whose images are no slices: radiographs, mammograms, and photographs."""

FEWEST_PATIENTS: Final = 10
"""Names of folders of which most come again in other classes are patients if there are so many."""


def images_of_patients(root: Path) -> list[tuple[str, str, Path]]:
    """Class, name and path of each image where no class folder holds one itself: ``<class>/<patient>/.../<image>``.

    Volumes are left out: a tree of them looks the same, and they are cut first. So is DICOM but for single images.

    Raises:
        DatasetError: The folders may be classes in folders for training and test images, or may hold masks, or hold
            only volumes.
    """
    found = [(folder.name, str(image_id(path)), path) for folder, path in _read_within(root)]
    patients_of: dict[str, dict[str, str]] = {}  # By their folded names, as they are written.
    for label, name, path in found:
        folders = path.parent.relative_to(root).parts[1:]
        patients_of.setdefault(label, {}).setdefault(folded(folders[0]), folders[0])
        if any(map(_is_of_masks, (*folders, name))):
            raise DatasetError(
                f"{path} looks like a mask by its name; expected the mask of x.png next to it, as x{MASK_SUFFIX}: "
                f"rename or move the masks, or list all images in {root / LABEL_TABLE} (file,label)"
            )
    if not found and any(image_id(path) is not None for _, path in in_folders_of_classes(root)):
        raise DatasetError(
            f"no images in {root}; only volumes or DICOM lie in folders within folders: cut volumes to images by "
            f"monai-advenc slice, or list single images in {root / LABEL_TABLE} (file,label)"
        )
    names = {key: name for each in reversed(patients_of.values()) for key, name in each.items()}
    above, within = in_short(list(patients_of), 3), in_short(sorted(names.values()), 3)
    classes_below = f"the folders of classes lie one folder deeper, in {above}: give one of these"
    patients_below = f"{above} are the classes and {within} patients"
    if any(_PART.match(folded(label)) is not None for label in patients_of):
        raise DatasetError(
            f"{root} holds parts of a data set; {classes_below}; if {patients_below}, list all images in "
            f"{root / LABEL_TABLE} (file,label)"
        )
    are_told = (root / PATIENT_TABLE).is_file() and len(patients_of) > 1
    if found and not are_told and _are_classes(patients_of, names.keys()):
        raise DatasetError(
            f"{root} holds images two folders deep, whose names do not tell classes from patients. Either "
            f"{classes_below}; or {patients_below}: add {root / PATIENT_TABLE} (image,patient), or list all images in "
            f"{root / LABEL_TABLE} (file,label)"
        )
    return found


def _has_frames(path: Path) -> bool:
    """Whether a DICOM file that can be read holds several frames."""
    header = parse_dicom(path, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
    return str(header.get("NumberOfFrames") or 1) != "1"


def unread_of_patients(root: Path) -> Iterable[Path]:
    """What :func:`images_of_patients` skips: files of other formats, loose images, and folders without images."""
    within, read = list(in_folders_of_classes(root)), _read_within(root)
    holding, taken = {folder for folder, _ in read}, {path for _, path in read}
    yield from (each for each in visible(root) if (each.is_dir() or image_id(each) is not None) and each not in holding)
    for folder, path in within:
        if folder in holding and path not in taken and not path.name.lower().endswith((MASK_SUFFIX, ".csv", ".json")):
            yield path


def _read_within(root: Path) -> list[tuple[Path, Path]]:
    """Each image in a folder within a class, with the folder of the class."""
    within = list(in_folders_of_classes(root))
    read = [(folder, path) for folder, path in within if _is_read(path)]
    if not read and holds_single_dicom(root):
        return [(folder, path) for folder, path in within if is_dicom_image(path)]
    return read


def _is_read(path: Path) -> bool:
    return image_id(path) is not None and not path.name.lower().endswith(OF_VOLUMES_TOO)


def holds_single_dicom(root: Path) -> bool:
    """Whether the folders within those of classes hold DICOM of single images only, none of them a slice of a volume.

    A file holds one if it is the only one of its series, or its modality has no volumes.
    """
    return _are_single_dicom(path for _, path in in_folders_of_classes(root))


def holds_flat_dicom(root: Path) -> bool:
    """Whether folders of classes hold DICOM of single images themselves, as :func:`holds_single_dicom` tells them."""
    flat = [path for _, _, path in images_in_class_folders(root)]
    return bool(flat) and _are_single_dicom(chain(flat, (path for _, path in in_folders_of_classes(root))))


def _are_single_dicom(paths: Iterable[Path]) -> bool:
    series: set[str] = set()
    for path in paths:
        if is_nifti_image(path):
            return False
        for each in dicom_objects(path) if is_dicom_image(path) else ():
            is_slice = each.series_uid in series and each.modality not in _PROJECTIONS
            if each.kind != "image" or is_slice or _has_frames(path):
                return False
            series.add(each.series_uid)
    return bool(series)


def _is_of_masks(name: str) -> bool:
    return folded(name) in _OF_MASKS or folded(name).endswith(("_mask", "-mask", "_seg", "-seg"))


def may_be_classes(folders: Iterable[tuple[str, str]]) -> bool:
    """Whether folders within folders may be classes within parts of a data set, instead of patients within classes.

    Args:
        folders: Name of each folder, after that of the folder above it.
    """
    patients_of: dict[str, set[str]] = {}
    for above, name in folders:
        patients_of.setdefault(above, set()).add(folded(name))
    has_part = any(_PART.match(folded(above)) is not None for above in patients_of)
    return has_part or _are_classes(patients_of, set[str]().union(*patients_of.values()))


def _are_classes(patients_of: Mapping[str, Collection[str]], names: Collection[str]) -> bool:
    """Whether the folders in folders may be classes: most of their names come again, or all lie in one folder."""
    again = [name for name in names if sum(name in each for each in patients_of.values()) > 1]
    is_repeated = 2 * len(again) > len(names)
    return len(patients_of) not in range(2, len(names) + 1) or (is_repeated and len(names) < FEWEST_PATIENTS)


def in_one_spelling(names: Iterable[str]) -> list[str]:
    """The names of folders of patients, those that differ only in case or Unicode form as the first of them."""
    spelled: dict[str, str] = {}
    return [spelled.setdefault(folded(name), name) for name in names]


def what_folders_are(folders: Sequence[str], *, are_told: bool) -> str:
    """What folders in those of classes were taken for, in one line.

    Args:
        folders: Their names.
        are_told: Whether ids have them, because images have equal names.
    """
    told = (
        "; images in them have equal names, so ids and names of output files begin with theirs (encrypt --identity "
        "remove gives other names)"
        if are_told
        else ""
    )
    return (
        f"folders within those of classes ({in_short(sorted(set(folders)), 3)}) are taken as patients{told}; if they "
        f"are none, say by {PATIENT_TABLE} (image,patient) which images are of one patient"
    )
