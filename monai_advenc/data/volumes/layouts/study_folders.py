# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A folder for each class, in it one for each patient, and in that one for each study, with NIfTI files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from monai_advenc.data.images.patient_folders import may_be_classes
from monai_advenc.data.patients import PATIENT_TABLE
from monai_advenc.data.volumes.case import Case, with_distinct_ids
from monai_advenc.data.volumes.layouts.class_folders import chosen_nifti_case
from monai_advenc.data.volumes.layouts.source import Source
from monai_advenc.data.volumes.names import IMAGE_NAMES, files_named, subfolders
from monai_advenc.files.names import in_short


def find_in_study_folders(source: Source) -> Sequence[Case]:
    """The cases of studies; none where the folders may hold classes instead of patients, or a table names classes."""
    if source.label_table.is_file():
        return ()
    studies = [
        (above.name, patient.name, study)
        for above in subfolders(source.folder)
        for patient in subfolders(above)
        for study in subfolders(patient)
        if files_named(study, IMAGE_NAMES)
    ]
    if not studies or may_be_classes((label, patient) for label, patient, _ in studies):
        return ()
    patients = in_short(sorted({patient for _, patient, _ in studies}), 3)
    source.notes.append(
        f"folders within those of classes ({patients}) are taken as patients, and those in them as their studies; if "
        f"they are none, say by {PATIENT_TABLE} (case,patient) which cases are of one patient"
    )
    return with_distinct_ids([_case_of(*each, source) for each in studies], source.folder)


def _case_of(label: str, patient: str, study: Path, source: Source) -> Case:
    return replace(chosen_nifti_case(study, label, source.channel), patient=patient)
