# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A folder for each class, in it one for each patient, and in that one for each study, with NIfTI files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from monai_advenc.data.images.labeled_files import MADE_BY_MACHINES
from monai_advenc.data.images.patient_folders import in_one_spelling, may_be_classes
from monai_advenc.data.patients import PATIENT_TABLE
from monai_advenc.data.volumes.case import Case, with_distinct_ids
from monai_advenc.data.volumes.layouts.class_folders import (
    chosen_nifti_case,
    is_pair,
    unread_files_in,
    without_image,
)
from monai_advenc.data.volumes.layouts.listed import CASE_TABLE
from monai_advenc.data.volumes.layouts.source import Source
from monai_advenc.data.volumes.names import IMAGE_NAMES, files_named, subfolders, volumes_in
from monai_advenc.data.volumes.other_formats import VOLUME_SUFFIXES
from monai_advenc.errors import DatasetError
from monai_advenc.files.names import in_short


def find_in_study_folders(source: Source) -> Sequence[Case]:
    """The cases of studies; none where the folders may hold classes instead of patients, or a table names classes."""
    if source.label_table.is_file():
        return ()
    patients = [(above, patient) for above in _of_people(source.folder) for patient in _of_people(above)]
    classes = {
        above for above, patient in patients if any(_has_image(study, source.channel) for study in _of_people(patient))
    }
    if not classes:
        return ()
    names = in_one_spelling(patient.name for _, patient in patients)
    cases: list[Case] = []
    without: list[Path] = []
    for (above, patient), name in zip(patients, names, strict=True):
        # A folder without a readable case is a class only if it holds volumes.
        if above in classes or _holds_volumes(patient):
            of_patient, others = _cases_of(patient, above.name, source.channel)
            cases += (replace(case, patient=name) for case in of_patient)
            without += others
    found = {(case.label, case.patient or "") for case in cases}
    with_image = {each for each in found if each[0] in {above.name for above in classes}}
    # A class may hold only what cannot be read; or a folder may hold no class, but what was made of the images.
    if may_be_classes(found) and may_be_classes(with_image):
        return ()
    source.notes.append(_what_folders_are({case.patient or "" for case in cases}))
    if without:
        skipped = in_short([each.relative_to(source.folder).as_posix() for each in without])
        source.notes.append(f"folders of patients without volumes are skipped ({skipped})")
    for above in sorted({above for above, _ in patients}):
        if above in classes:
            cases += unread_files_in(above, ())
    return with_distinct_ids(cases, source.folder)


def require_one_depth(source: Source, cases: Sequence[Case]) -> None:
    """Raise if a folder next to those of classes has no case only because its images lie at another depth.

    Args:
        source: The folder, without a table of classes.
        cases: The cases of a layout in which the uppermost folders are the classes.

    Raises:
        DatasetError: There is one; skipped, it would be a class that nobody misses.
    """
    read = {case.image.relative_to(source.folder).parts[0] for case in cases}
    for above in _of_people(source.folder):
        places = () if above.name in read else (above, *sorted(path for path in above.rglob("*") if path.is_dir()))
        found = next((each for each in places if _has_image(each, source.channel)), None)
        if found is not None:
            where, labels = found.relative_to(source.folder).as_posix(), sorted({case.label for case in cases})
            raise DatasetError(
                f"{source.folder} has classes ({in_short(labels, 3)}) whose cases lie at another depth than that in "
                f"{where}, so {above.name} would be no class: arrange the cases of all classes alike, list them in "
                f"{CASE_TABLE} (case,image,mask,label), or move {above.name} away if it is none"
            )


def _of_people(folder: Path) -> list[Path]:
    """The folders in a folder; without those that file servers and archives leave."""
    return [each for each in subfolders(folder) if not each.name.startswith(MADE_BY_MACHINES)]


def _has_image(study: Path, channel: str | None) -> bool:
    """Whether a study holds an image by its name, the only one with a mask, or with a channel any."""
    if channel is not None:
        return bool(volumes_in(study))
    return bool(files_named(study, IMAGE_NAMES)) or is_pair(study)


def _holds_volumes(folder: Path) -> bool:
    return any(
        path.name.lower().endswith(VOLUME_SUFFIXES) and not path.name.startswith(".") for path in folder.rglob("*")
    )


def _cases_of(patient: Path, label: str, channel: str | None) -> tuple[list[Case], list[Path]]:
    """The studies of a patient, those that cannot be read as cases with a problem, and folders without volumes."""
    studies, cases, without = _of_people(patient), list[Case](), list[Path]()
    for study in studies:
        if volumes_in(study):
            cases.append(chosen_nifti_case(study, label, channel))
            cases += (
                Case(each.name, label, each, None, problem=f"{each} lies in a study; move it next to it, or away")
                for each in _of_people(study)
                if _holds_volumes(each)
            )
        else:
            problem = without_image(study)
            cases += () if problem is None else [Case(study.name, label, study, None, problem=problem)]
            without += [study] if problem is None else ()
    beside = [path for path in patient.iterdir() if path.is_file() and not path.name.startswith(".")]
    if not studies or any(path.name.lower().endswith(VOLUME_SUFFIXES) for path in beside):
        problem = without_image(patient)
        cases += () if problem is None else [Case(patient.name, label, patient, None, problem=problem)]
        without += [patient] if problem is None else ()
    return cases, without


def _what_folders_are(patients: Iterable[str]) -> str:
    return (
        f"folders within those of classes ({in_short(sorted(patients), 3)}) are taken as patients, and those in them "
        "as their studies; ids and names of output files are made of the names of both (--identity remove gives other "
        f"names, or rename the folders); if they are none, say by {PATIENT_TABLE} (case,patient) which cases are of "
        "one patient"
    )
