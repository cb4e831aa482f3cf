# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Replace or reject names of cases and files in the output that identify the patient."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from monai_advenc.data.dicom.file import looks_like_dicom, read_dicom
from monai_advenc.data.dicom.identity.rule import (
    IdentityChoice,
    IdentityRule,
    KeyedTags,
    require_identity_choice,
    says_burned_in,
)
from monai_advenc.data.dicom.identity.traces import names_patient
from monai_advenc.data.volumes.cases import CaseList
from monai_advenc.errors import SettingsError, VolumeError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.files.folder_lock import FolderLock
from monai_advenc.files.tables import csv_text, read_table
from monai_advenc.progress import Progress

CASE_NAMES: Final = "case_names.csv"
"""Table in the private folder: the names of cases in the output, and their own."""


def choose_identity(choice: IdentityChoice | None, *, writes_dicom: bool) -> IdentityChoice:
    """The choice made; identity is kept where nothing was chosen and no DICOM is written.

    Raises:
        SettingsError: DICOM is written and nothing was chosen.
    """
    return "keep" if choice is None and not writes_dicom else require_identity_choice(choice)


def name_without_identity(
    cases: CaseList, choice: IdentityChoice, key: KeyedTags, private: Path, progress: Progress
) -> CaseList:
    """Rename cases to keyed names without identity, unless identity is kept.

    Names of folders and files often are names or numbers of patients. A table in the private folder has both names.

    Args:
        cases: The cases under their own names.
        choice: What happens to the identity.
        key: What the new names are tied to.
        private: Folder for the table; must exist unless identity is kept.
        progress: Receives a line about it.

    Raises:
        DatasetError: The table of an earlier run is damaged.
        OutputError: The table cannot be written.
    """
    if choice == "keep":
        return cases
    rule = IdentityRule(choice, key)
    renamed = tuple(replace(case, id=rule.case_name(case.id)) for case in cases.cases)
    with FolderLock(private):  # Another run with this private folder may be adding its own.
        # Names of cases that left the originals show which files to withdraw.
        names = _earlier_names(private) | {new.id: old.id for old, new in zip(cases.cases, renamed, strict=True)}
        rows = sorted((case, name) for name, case in names.items())
        table = csv_text(("case", "name"), rows)
        only_owner = stat.S_IRUSR | stat.S_IWUSR
        write_atomically(private / CASE_NAMES, table.encode(), overwrite=True, mode=only_owner)
    progress.say(f"Cases have new names in the output; {private / CASE_NAMES} lists both names. Never share it.")
    ordered = sorted(renamed, key=lambda case: (case.label, case.id))
    return replace(cases, cases=tuple(ordered))


def _earlier_names(private: Path) -> dict[str, str]:
    """From names in the output to cases, as earlier runs with this private folder noted them."""
    table = private / CASE_NAMES
    return {row["name"]: row["case"] for row in read_table(table, ("case", "name"))} if table.is_file() else {}


def refuse_names_of_patients(named: Iterable[tuple[str, Path]], choice: IdentityChoice | None, way_out: str) -> None:
    """Raise where nothing was chosen and files in the output would be named after a patient.

    Args:
        named: Names in the output and the DICOM file, or folder of one series, that each stands for; other files have
            no header that tells the patient's name.
        choice: What was chosen.
        way_out: What to do about it.

    Raises:
        SettingsError: A name, number or date of the patient or the study stands in a name.
    """
    for name, place in named if choice is None else ():
        header = _first_dicom(place)
        if header is None:
            continue
        try:
            dataset = read_dicom(header, pixels=False)
        except VolumeError:
            continue  # Reading the case reports the problem.
        if names_patient(name, dataset):
            raise SettingsError(
                f"the name {name!r} contains the patient's name or a date, number or UID from {header} and would "
                f"become a file name in the output; {way_out}"
            )


def _first_dicom(place: Path) -> Path | None:
    files = [place] if place.is_file() else sorted(place.rglob("*"))
    return next((path for path in files if path.is_file() and looks_like_dicom(path)), None)


def warn_of_burned_in_text(paths: Iterable[Path], choice: IdentityChoice, progress: Progress) -> None:
    """Warn about images whose headers state that text is burned into the pixels; this package does not remove it."""
    if choice == "keep":
        return
    burned = [path for path in paths if says_burned_in(path)]
    if burned:
        progress.say(
            f"Warning: {len(burned)} DICOM files, among them {burned[0]}, state that text is burned into their pixels "
            "(Burned In Annotation YES). It stays in the output; look at the images before you share them."
        )
