# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Finding cases: an image volume, its tumor mask and its class, in the layouts that people have.

Tried in this order:

``cases.csv``
    A table with the columns case, image, mask, label; paths relative to the table.
``dataset.json``
    The MONAI / Medical Segmentation Decathlon list; classes come from ``labels.csv`` (case, label).
Class folders
    ``<class>/<case>/image.nii.gz`` with ``seg``, ``mask`` or ``label`` beside it, or ``<class>/<case>.nii.gz`` with
    ``<case>_seg.nii.gz`` and the like; or ``<class>/<case>/`` with a DICOM series and its mask somewhere below.
BraTS names
    ``<case>/<case>_t1ce.nii.gz`` (or ``-t1c``) with ``<case>_seg.nii.gz``; classes come from ``labels.csv``.
DICOM patients
    ``<patient>/<study>/<series>/`` or any other tree below each patient; classes come from ``labels.csv``, whose cases
    are the names of the patients' folders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from monai_advenc.errors import DatasetError, VolumeError
from monai_advenc.label_table import LABEL_TABLE, read_table, require_file_name
from monai_advenc.volumes.dicom_case import find_dicom_case
from monai_advenc.volumes.dicom_folder import has_dicom
from monai_advenc.volumes.volume_names import (
    IMAGE_NAMES,
    MASK_NAMES,
    first_file,
    has_other_modalities,
    is_mask_name,
    names_beside,
    stem,
    subfolders,
)

CASE_TABLE, DATASET_LIST = "cases.csv", "dataset.json"

BRATS_MODALITIES = ("t1ce", "t1c", "t1gd")
"""Contrast-enhanced T1, where tumors stand out; the BraTS releases spell it in different ways."""


_NO_IMAGE = "{} holds NIfTI files, none of them called image.nii.gz; rename the image, or move the folder away"


@dataclass(frozen=True)
class Case:
    """One patient's volume.

    Attributes:
        id: Unique name.
        label: Class name.
        image: File of the image; a folder if it is a DICOM series.
        mask: File of the tumor mask; ``None`` if there is none, which is an error only when the case is cut.
        series_uid: Which series in the folder is the image; ``None`` if there is only one, and for NIfTI.
        problem: Why the files of the case cannot be told apart; an error only when the case is cut, so that one patient
            does not stop the others.
    """

    id: str
    label: str
    image: Path
    mask: Path | None
    series_uid: str | None = None
    problem: str | None = None

    def files(self) -> list[Path]:
        """All files of image and mask that are there, sorted."""
        places = [place for place in (self.image, self.mask) if place is not None]
        found = {path for place in places for path in (place, *place.rglob("*")) if path.is_file()}
        return sorted(found)


@dataclass(frozen=True)
class CaseList:
    """The cases found, sorted by class and id, and the names of their classes."""

    cases: tuple[Case, ...]
    classes: tuple[str, ...]

    def class_counts(self) -> dict[str, int]:
        """How many cases each class has."""
        return {name: sum(case.label == name for case in self.cases) for name in self.classes}


def are_listed(folder: Path) -> bool:
    """Whether a table in the folder lists the files of the cases; else every folder below it is looked at."""
    return any((folder / name).is_file() for name in (CASE_TABLE, DATASET_LIST))


def find_cases(folder: Path, *, labels: Path | None = None) -> CaseList:
    """Find the cases below a folder, whichever of the layouts above it has.

    Args:
        folder: The folder.
        labels: Table (case, label) of the classes, for layouts that do not name them; ``None``: ``labels.csv`` in
            ``folder``.

    Returns:
        The cases; always in the same order.

    Raises:
        DatasetError: No folder, no cases, two cases with one id, a missing image, or a case without a class.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; give the folder that holds the volumes")
    cases: list[Case] = []
    for layout in (_from_table, _from_dataset_list, _from_class_folders, _from_brats_names, _from_dicom_patients):
        cases = sorted(layout(folder, labels or folder / LABEL_TABLE), key=lambda case: (case.label, case.id))
        if cases:
            break
    if not cases:
        raise DatasetError(
            f"no cases in {folder}; expected <class>/<case>/ with image.nii.gz and seg.nii.gz or with DICOM files, a "
            "cases.csv (case,image,mask,label), a dataset.json, or BraTS names or folders of DICOM patients with a "
            "labels.csv (case,label)"
        )
    _require_usable(cases)
    return CaseList(tuple(cases), tuple(sorted({case.label for case in cases})))


def _require_usable(cases: Iterable[Case]) -> None:
    seen: dict[str, Case] = {}
    for case in cases:
        if case.id in seen:
            raise DatasetError(f"two cases with one id {case.id!r}: {seen[case.id].image} and {case.image}; rename one")
        seen[case.id] = case
        require_file_name("case id", case.id, case.image)
        require_file_name("class", case.label, case.image)
        if not case.image.exists():
            raise DatasetError(f"case {case.id!r} names {case.image}, which does not exist; mend the table")


def _classes_of(table: Path) -> Callable[[str], str]:
    """The lookup from case id to class in a label table."""
    if not table.is_file():
        raise DatasetError(f"no table of classes: expected {table} with the columns case, label; or give --labels")
    label_of: dict[str, str] = {}
    for row in read_table(table, ("case", "label")):
        if label_of.setdefault(row["case"], row["label"]) != row["label"]:
            raise DatasetError(f"case {row['case']!r} has two classes in {table}; keep the right row")

    def look_up(case: str) -> str:
        if case not in label_of:
            raise DatasetError(f"case {case!r} has no row in {table}; add it, or move the case away")
        return label_of[case]

    return look_up


def _from_table(folder: Path, labels: Path) -> Iterable[Case]:
    table = folder / CASE_TABLE
    if not table.is_file():
        return
    for row in read_table(table, ("case", "image", "mask", "label")):
        image, mask = folder / row["image"], folder / row["mask"] if row["mask"] else None
        if image.exists() and not stem(image):
            yield _dicom_case(row["case"], row["label"], image, mask)
        else:
            yield Case(row["case"], row["label"], image, mask)


def _from_dataset_list(folder: Path, labels: Path) -> Iterable[Case]:
    path = folder / DATASET_LIST
    if not path.is_file():
        return
    try:
        training = json.loads(path.read_text(encoding="utf-8"))["training"]
        pairs = [(str(each["image"]), str(each["label"])) for each in training]
    except (ValueError, KeyError, TypeError):
        raise DatasetError(
            f"{path} is no data set list: expected a key 'training' with items of 'image' and 'label'"
        ) from None
    class_of = _classes_of(labels)
    for image, mask in pairs:
        name = stem(Path(image))
        yield Case(name, class_of(name), folder / image, folder / mask)


def _from_class_folders(folder: Path, labels: Path) -> Iterable[Case]:
    cases = list(_in_class_folders(folder, labels))
    # Where no folder has an image, the files are laid out in another way.
    return [*cases, *_without_images(folder)] if cases else ()


def _without_images(folder: Path) -> Iterable[Case]:
    """Case folders with NIfTI files, none of which is the image: they fail, and are not passed over."""
    for class_folder in subfolders(folder):
        for case_folder in subfolders(class_folder):
            is_whole = first_file(case_folder, IMAGE_NAMES) is not None or has_dicom(case_folder)
            if not is_whole and any(stem(path) for path in case_folder.iterdir()):
                yield Case(
                    case_folder.name, class_folder.name, case_folder, None, problem=_NO_IMAGE.format(case_folder)
                )


def _in_class_folders(folder: Path, labels: Path) -> Iterable[Case]:
    for class_folder in subfolders(folder):
        for case_folder in subfolders(class_folder):
            image = first_file(case_folder, IMAGE_NAMES)
            if image is not None:
                yield Case(case_folder.name, class_folder.name, image, first_file(case_folder, MASK_NAMES))
            elif not labels.is_file() and has_dicom(case_folder):
                # With a table of classes, the folders are patients and what is below them their studies.
                yield _dicom_case(case_folder.name, class_folder.name, case_folder)
        names = [stem(path) for path in class_folder.iterdir()]
        for path in sorted(class_folder.iterdir()):
            name = stem(path)
            if not path.is_file() or not name or name.lower() in IMAGE_NAMES:
                continue
            if not is_mask_name(name) and not has_other_modalities(name, names):
                masks = tuple(names_beside(name, MASK_NAMES))
                yield Case(name, class_folder.name, path, first_file(class_folder, masks))


def _from_dicom_patients(folder: Path, labels: Path) -> Iterable[Case]:
    patients = [patient for patient in subfolders(folder) if has_dicom(patient)]
    if patients:
        class_of = _classes_of(labels)
        yield from (_dicom_case(patient.name, class_of(patient.name), patient) for patient in patients)


def _dicom_case(name: str, label: str, image: Path, mask: Path | None = None) -> Case:
    try:
        found = find_dicom_case(image, mask)
    except (DatasetError, VolumeError) as error:
        return Case(name, label, image, mask, problem=str(error))
    return Case(name, label, found.image, found.mask, found.series_uid)


def _from_brats_names(folder: Path, labels: Path) -> Iterable[Case]:
    found: list[tuple[str, Path, Path | None]] = []
    for modality in BRATS_MODALITIES:
        for path in sorted(folder.rglob(f"*[_-]{modality}.nii*")):
            name = re.sub(rf"[_-]{modality}$", "", stem(path))
            found.append((name, path, first_file(path.parent, tuple(names_beside(name, ("seg",))))))
        if found:
            break
    if found:
        class_of = _classes_of(labels)
        yield from (Case(name, class_of(name), image, mask) for name, image, mask in found)
