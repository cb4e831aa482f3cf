# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The supported layouts of volumes, masks and classes: each is a function that finds the cases of a folder.

A case whose files are ambiguous or unreadable is returned with its problem; it is not skipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from monai_advenc.data.dicom.folder import DICOM_SUFFIXES, has_dicom
from monai_advenc.data.nifti import NIFTI_SUFFIXES
from monai_advenc.data.patients import patient_in_header
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.dicom_case import find_dicom_case
from monai_advenc.data.volumes.names import (
    IMAGE_NAMES,
    MASK_NAMES,
    files_named,
    files_of_first_name,
    has_other_modalities,
    is_mask_name,
    names_beside,
    stem,
    subfolders,
    volumes_in,
    without_modality,
)
from monai_advenc.data.volumes.other_formats import other_format
from monai_advenc.errors import DatasetError, VolumeError
from monai_advenc.files.names import comparable, exists, find_path, folded
from monai_advenc.files.tables import read_table

CASE_TABLE, DATASET_LIST = "cases.csv", "dataset.json"

BRATS_MODALITIES = ("t1ce", "t1c", "t1gd")
"""Contrast-enhanced T1, where tumors stand out; the BraTS releases spell it in different ways."""

OTHER_VOLUMES = (".nrrd", ".nhdr", ".mha", ".mhd", ".mnc", ".mnc.gz", *DICOM_SUFFIXES)
"""Suffixes of volumes that cannot lie directly in a class folder."""

Layout = Callable[[Path, Path], Iterable[Case]]
"""Takes a folder and the table of classes, which may be missing; yields no cases if the folder has another layout."""


def _classes_of(table: Path) -> Callable[[str], str]:
    """The lookup from case id to class in a label table."""
    if not table.is_file():
        raise DatasetError(f"no table of classes: expected {table} with the columns case, label; or give --labels")
    label_of: dict[str, str] = {}
    for row in read_table(table, ("case", "label")):
        if label_of.setdefault(comparable(row["case"]), row["label"]) != row["label"]:
            raise DatasetError(f"case {row['case']!r} has two classes in {table}; keep the right row")

    def look_up(case: str) -> str:
        label = label_of.get(comparable(case))
        if label is None:
            alike = [each for each in label_of if _without_zeros(each) == _without_zeros(case)]
            # Spreadsheets take leading zeros away.
            hint = f"; it has {alike[0]!r}, without the same zeros or capitals" if alike else ""
            raise DatasetError(f"case {case!r} has no row in {table}{hint}; add it, or move the case away")
        return label

    return look_up


def _without_zeros(case: str) -> str:
    return folded(case).lstrip("0")


def _from_table(folder: Path, labels: Path) -> Iterable[Case]:
    table = folder / CASE_TABLE
    if not table.is_file():
        return
    for row in read_table(table, ("case", "image", "mask", "label")):
        image, mask = find_path(folder, row["image"]), find_path(folder, row["mask"]) if row["mask"] else None
        if exists(image) and not stem(image):
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
        yield Case(name, class_of(name), find_path(folder, image), find_path(folder, mask))


def _from_class_folders(folder: Path, labels: Path) -> Iterable[Case]:
    cases = list(_in_class_folders(folder, labels))
    if not cases:
        return ()  # The folder has another layout.
    # A folder without a readable case is a class only if it holds NIfTI cases.
    return [*cases, *(unread for each in subfolders(folder) for unread in _unreadable_in(each, cases))]


def _in_class_folders(folder: Path, labels: Path) -> Iterable[Case]:
    for class_folder in subfolders(folder):
        for case_folder in subfolders(class_folder):
            if files_named(case_folder, IMAGE_NAMES):
                yield _nifti_case(case_folder.name, class_folder.name, case_folder)
            elif not labels.is_file() and has_dicom(case_folder):
                # With a table of classes, the folders are patients and what is below them their studies.
                yield _dicom_case(case_folder.name, class_folder.name, case_folder)
        volumes = volumes_in(class_folder)
        names = [stem(path) for path in volumes]
        for path, name in zip(volumes, names, strict=True):
            if name.lower() in IMAGE_NAMES or is_mask_name(name):
                continue
            # In BraTS names, a folder with the name of its images is a case, not a class.
            is_of_brats = has_other_modalities(name, names) or without_modality(name) == class_folder.name != name
            if not is_of_brats:
                masks = files_of_first_name(class_folder, names_beside(name, MASK_NAMES))
                masks = masks or files_of_first_name(class_folder, names_beside(without_modality(name), MASK_NAMES))
                yield Case(name, class_folder.name, path, next(iter(masks), None), problem=_ambiguous(masks))


def _nifti_case(name: str, label: str, folder: Path) -> Case:
    images, masks = files_named(folder, IMAGE_NAMES), files_of_first_name(folder, MASK_NAMES)
    problem = _ambiguous(images) or _ambiguous(masks)
    return Case(name, label, images[0], next(iter(masks), None), problem=problem)


def _ambiguous(files: list[Path]) -> str | None:
    """The problem of several candidate files; ``None`` for one file or none."""
    if len(files) < 2:
        return None
    names = ", ".join(path.name for path in files)
    return f"{files[0].parent} holds {names}; expected one file: keep one, or name one in {CASE_TABLE}"


def _unreadable_in(class_folder: Path, cases: list[Case]) -> Iterable[Case]:
    """Case folders without an image, and volumes of other formats: cases that fail instead of being skipped."""
    label, known = class_folder.name, {case.id for case in cases}
    is_class = any(case.label == label for case in cases)
    for case_folder in subfolders(class_folder):
        is_nifti = any(map(stem, case_folder.iterdir()))
        if (is_class or is_nifti) and not files_named(case_folder, IMAGE_NAMES):
            problem = _without_image(case_folder)
            if problem is not None:
                yield Case(case_folder.name, label, case_folder, None, problem=problem)
    if not is_class:
        return
    for path in sorted(class_folder.iterdir()):
        is_other = path.name.lower().endswith(OTHER_VOLUMES) and not path.name.startswith(".") and path.is_file()
        # The same image in two formats, or its mask in another.
        if is_other and path.stem not in known and Path(path.stem).stem not in known:
            problem = f"{path} is no NIfTI file, and DICOM needs a folder for each case; convert it, or move it away"
            yield Case(f"{label} {path.name}", label, path, None, problem=problem)
    names = [stem(path) for path in volumes_in(class_folder)]
    for name in sorted({without_modality(name) for name in names if has_other_modalities(name, names)}):
        problem = f"{class_folder} holds several images of {name}; keep one, or name one in {CASE_TABLE}"
        yield Case(name, label, class_folder, None, problem=problem)


def _without_image(folder: Path) -> str | None:
    """The problem of a folder without image; ``None`` for folders of DICOM and folders without volumes."""
    if has_dicom(folder):
        return None
    foreign = foreign_volume(folder)
    if foreign is not None:
        return foreign
    if any(stem(path) for path in folder.iterdir()):
        return (
            f"{folder} holds NIfTI files, none of them called image.nii.gz; rename the image, or move the folder away"
        )
    below = [path for path in folder.rglob("*") if not path.name.startswith(".")]
    is_volume = any(path.name.lower().endswith((*NIFTI_SUFFIXES, *OTHER_VOLUMES)) for path in below)
    if below and not is_volume:
        return None
    return (
        f"{folder} holds no volume that is read here: expected image.nii.gz with seg.nii.gz, or DICOM; convert or move "
        "up what it holds, or move the folder away"
    )


def foreign_volume(folder: Path) -> str | None:
    """The problem of the first file below a folder whose format is not read here; ``None`` if there is none."""
    for path in sorted(folder.rglob("*")):
        if path.name.lower().endswith((*NIFTI_SUFFIXES, *OTHER_VOLUMES)) and (found := other_format(path)):
            return f"{path} is {found}; expected NIfTI or DICOM: convert it to NIfTI first"
    return None


def _from_brats_names(folder: Path, labels: Path) -> Iterable[Case]:
    found: list[Case] = []
    for modality in BRATS_MODALITIES:
        for path in sorted(folder.rglob(f"*[_-]{modality}.nii*")):
            name = without_modality(stem(path))
            masks = [
                mask for each in (name, stem(path)) for mask in files_named(path.parent, names_beside(each, ("seg",)))
            ]
            found.append(Case(name, "", path, next(iter(masks), None), problem=_ambiguous(masks)))
        if found:
            break
    if found:
        class_of = _classes_of(labels)
        yield from (replace(case, label=class_of(case.id)) for case in found)


def _from_dicom_patients(folder: Path, labels: Path) -> Iterable[Case]:
    patients = [patient for patient in subfolders(folder) if has_dicom(patient)]
    if patients:
        class_of = _classes_of(labels)
        yield from (_dicom_case(patient.name, class_of(patient.name), patient) for patient in patients)


def _dicom_case(name: str, label: str, image: Path, mask: Path | None = None) -> Case:
    try:
        series, found = find_dicom_case(image, mask)
    except (DatasetError, VolumeError) as error:
        return Case(name, label, image, mask, problem=str(error))
    patient = patient_in_header(series.paths[0])
    return Case(name, label, image, found, series.series_uid, patient=patient)


LAYOUTS: tuple[Layout, ...] = (
    _from_table,
    _from_dataset_list,
    _from_class_folders,
    _from_brats_names,
    _from_dicom_patients,
)
"""In the order in which they are tried."""
