# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Find cases: an image volume, its tumor mask and its class, in one of several folder layouts.

The layouts are tried in this order:

``cases.csv``
    A table with the columns case, image, mask, label; paths relative to the table.
``dataset.json``
    The MONAI / Medical Segmentation Decathlon list; classes come from ``labels.csv`` (case, label).
Class folders
    ``<class>/<case>/image.nii.gz`` with ``seg``, ``mask`` or ``label`` next to it, or ``<class>/<case>.nii.gz`` with
    ``<case>_seg.nii.gz`` and the like; or ``<class>/<case>/`` with a DICOM series and its mask somewhere below.
BraTS names
    ``<case>/<case>_t1ce.nii.gz`` (or ``-t1c``) with ``<case>_seg.nii.gz``; classes come from ``labels.csv``.
DICOM patients
    ``<patient>/<study>/<series>/`` or any other tree below each patient; classes come from ``labels.csv``, whose cases
    are the names of the patients' folders.

A column ``patient`` of ``cases.csv`` or ``labels.csv``, or a table ``patients.csv`` (case, patient), says which cases
are of one patient; without it, the Patient ID of DICOM files does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from monai_advenc.data.patients import PATIENT_TABLE, read_patients, without_missing_issuers
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.layouts import CASE_TABLE, DATASET_LIST, LAYOUTS, foreign_volume
from monai_advenc.data.volumes.names import subfolders
from monai_advenc.errors import DatasetError
from monai_advenc.files.names import (
    comparable,
    exists,
    require_distinct_classes,
    require_distinct_ids,
    require_file_name,
)
from monai_advenc.files.tables import LABEL_TABLE


@dataclass(frozen=True)
class CaseList:
    """The cases found, sorted by class and id, and the names of their classes.

    Attributes:
        cases: The cases.
        classes: The names of their classes, sorted.
        passed_over: Skipped folders: those without a case.
        root: The folder in which they were found.
    """

    cases: tuple[Case, ...]
    classes: tuple[str, ...]
    passed_over: tuple[Path, ...] = ()
    root: Path | None = None

    def class_counts(self) -> dict[str, int]:
        """How many cases each class has."""
        return {name: sum(case.label == name for case in self.cases) for name in self.classes}

    def patient_counts(self) -> dict[str, int]:
        """How many patients each class has; a case whose patient is unknown counts as one."""
        own = {(case.label, case.patient or f"\0{case.id}") for case in self.cases}
        return {name: sum(label == name for label, _ in own) for name in self.classes}

    def inputs(self) -> list[Path]:
        """Every image and mask, and, unless a table lists them, the folder with all that lies in it."""
        read = [path for case in self.cases for path in (case.image, case.mask) if path is not None]
        return read if self.root is None or are_listed(self.root) else [*read, self.root]


def are_listed(folder: Path) -> bool:
    """Whether a table in the folder lists the files of the cases; otherwise every folder below it is searched."""
    return any((folder / name).is_file() for name in (CASE_TABLE, DATASET_LIST))


def find_cases(folder: Path, *, labels: Path | None = None) -> CaseList:
    """Find the cases below a folder in any of the layouts above.

    Args:
        folder: The folder.
        labels: Table (case, label) of the classes, for layouts that do not name them; ``None``: ``labels.csv`` in
            ``folder``.

    Returns:
        The cases; always in the same order.

    Raises:
        DatasetError: No folder, no cases, two cases or two classes whose names are equal or differ only in case,
            blanks or Unicode form, a missing image, or a case without a class.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; give the folder that holds the volumes")
    cases: list[Case] = []
    class_table = labels or folder / LABEL_TABLE
    for layout in LAYOUTS:
        cases = sorted(layout(folder, class_table), key=lambda case: (case.label, case.id))
        if cases:
            break
    if not cases:
        foreign = foreign_volume(folder)
        if foreign is not None:
            raise DatasetError(f"no cases in {folder}: {foreign}")
        raise DatasetError(
            f"no cases in {folder}; expected <class>/<case>/ with image.nii.gz and seg.nii.gz or with DICOM files, a "
            "cases.csv (case,image,mask,label), a dataset.json, or BraTS names or folders of DICOM patients with a "
            "labels.csv (case,label)"
        )
    _require_usable(cases)
    classes = tuple(sorted({case.label for case in cases}))
    passed_over = () if are_listed(folder) else tuple(_folders_without_cases(folder, cases))
    cases = _with_patients(cases, (folder / CASE_TABLE, class_table, folder / PATIENT_TABLE))
    return CaseList(tuple(cases), classes, passed_over, folder)


def _with_patients(cases: list[Case], tables: Iterable[Path]) -> list[Case]:
    """The cases with the patients of the first table that names any; those of DICOM headers if none does."""
    for table in tables:
        patient_of = read_patients(table, "case")
        if patient_of:
            without = next((case.id for case in cases if comparable(case.id) not in patient_of), None)
            if without is not None:
                raise DatasetError(f"case {without!r} has no patient in {table}; add it, or leave out all patients")
            return [replace(case, patient=patient_of[comparable(case.id)]) for case in cases]
    named = without_missing_issuers({case.id: case.patient for case in cases})
    return [replace(case, patient=named[case.id]) for case in cases]


def _folders_without_cases(folder: Path, cases: Iterable[Case]) -> Iterable[Path]:
    holding = {case.image.relative_to(folder).parts[0] for case in cases}
    return (path for path in subfolders(folder) if path.name not in holding)


def _require_usable(cases: Sequence[Case]) -> None:
    require_distinct_ids("cases", ((case.id, case.image) for case in cases))
    for case in cases:
        require_file_name("case id", case.id, case.image)
        require_file_name("class", case.label, case.image)
        if not exists(case.image):
            raise DatasetError(f"case {case.id!r} names {case.image}, which does not exist; correct the table")
    require_distinct_classes({case.label for case in cases})
