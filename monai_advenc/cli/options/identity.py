# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The option ``--identity`` of commands that write DICOM, and what goes with it."""

from __future__ import annotations

import csv
import io
import stat
from collections.abc import Iterable
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monai_advenc.cli.console import Output
from monai_advenc.errors import SettingsError, VolumeError

if TYPE_CHECKING:
    from monai_advenc.data.dicom.identity.rule import IdentityChoice
    from monai_advenc.data.volumes.cases import CaseList
    from monai_advenc.encryption.key import EncryptionKey

CASE_NAMES = "case_names.csv"


class Identity(str, Enum):
    """What happens to patient and institution in DICOM headers."""

    keep = "keep"
    remove = "remove"
    pseudonym = "pseudonym"


IdentityOption = Annotated[
    Identity | None,
    typer.Option(
        help="Patient and institution in DICOM headers: keep them; remove them (PS3.15 Basic Profile: names, numbers, "
        "dates, descriptions, private groups, all UIDs); or the same with a pseudonym that is stable for each patient "
        "under the key. Where it is not kept, cases get new names too (encrypt keeps file names, and refuses those "
        "that name the patient). Needed whenever DICOM is written, and where files would be named after a patient; no "
        "default. Text burned into the pixels stays whichever you choose: look at the images.",
        show_default="must be chosen for DICOM",
    ),
]


def choose_identity(identity: Identity | None, *, writes_dicom: bool) -> IdentityChoice:
    """The choice; where no DICOM is written nothing has to be chosen, and identity is kept unless something is.

    Raises:
        SettingsError: DICOM is written and nothing was chosen.
    """
    from monai_advenc.data.dicom.identity.rule import require_identity_choice

    if not writes_dicom and identity is None:
        return "keep"
    return require_identity_choice(None if identity is None else identity.value)


def name_without_identity(
    cases: CaseList, choice: IdentityChoice, key: EncryptionKey, private: Path, output: Output
) -> CaseList:
    """The cases under names that tell nothing, where identity is not kept; a table in the private folder has both.

    Names of folders and files often are names or numbers of patients.
    """
    from monai_advenc.data.dicom.identity.rule import IdentityRule
    from monai_advenc.files.atomic import write_atomically
    from monai_advenc.files.folder_lock import FolderLock

    if choice == "keep":
        return cases
    rule = IdentityRule(choice, key)
    renamed = tuple(replace(case, id=rule.case_name(case.id)) for case in cases.cases)
    table = io.StringIO()
    with FolderLock(private):  # Another run with this private folder may be adding its own.
        # Of cases that are no longer among the originals, the names say which files to withdraw.
        names = _earlier_names(private) | {new.id: old.id for old, new in zip(cases.cases, renamed, strict=True)}
        rows = sorted((case, name) for name, case in names.items())
        csv.writer(table, lineterminator="\n").writerows([("case", "name"), *rows])
        only_owner = stat.S_IRUSR | stat.S_IWUSR
        write_atomically(private / CASE_NAMES, table.getvalue().encode(), overwrite=True, mode=only_owner)
    output.say(f"Cases have other names in the output; {private / CASE_NAMES} says which is which. Never share it.")
    ordered = sorted(renamed, key=lambda case: (case.label, case.id))
    return replace(cases, cases=tuple(ordered))


def _earlier_names(private: Path) -> dict[str, str]:
    """From names in the output to cases, as earlier runs with this private folder noted them.

    Raises:
        DatasetError: The table is damaged.
    """
    from monai_advenc.files.tables import read_table

    table = private / CASE_NAMES
    return {row["name"]: row["case"] for row in read_table(table, ("case", "name"))} if table.is_file() else {}


def refuse_names_of_patients(named: Iterable[tuple[str, Path]], identity: Identity | None, way_out: str) -> None:
    """Raise where nothing was chosen and files in the output would be named after a patient.

    Args:
        named: Names in the output and the DICOM file, or folder of one series, that each stands for; other files have
            no header that tells the patient's name.
        identity: What was chosen.
        way_out: What to do about it.

    Raises:
        SettingsError: A name, number or date of the patient or the study stands in a name.
    """
    from monai_advenc.data.dicom.file import read_dicom
    from monai_advenc.data.dicom.identity.traces import names_patient

    for name, place in named if identity is None else ():
        header = _first_dicom(place)
        if header is None:
            continue
        try:
            dataset = read_dicom(header, pixels=False)
        except VolumeError:
            continue  # Said of the case itself when it is read.
        if names_patient(name, dataset):
            raise SettingsError(
                f"{name!r} names the patient of {header}, or has a date, number or UID of the archive, and would in "
                f"the output; {way_out}"
            )


def _first_dicom(place: Path) -> Path | None:
    from monai_advenc.data.dicom.file import looks_like_dicom

    files = [place] if place.is_file() else sorted(place.rglob("*"))
    return next((path for path in files if path.is_file() and looks_like_dicom(path)), None)


def warn_of_burned_in_text(paths: Iterable[Path], choice: IdentityChoice, output: Output) -> None:
    """Say which images state that names or numbers are written into their pixels, which nothing here removes."""
    from monai_advenc.data.dicom.identity.rule import says_burned_in

    if choice == "keep":
        return
    burned = [path for path in paths if says_burned_in(path)]
    if burned:
        output.say(
            f"Warning: {len(burned)} DICOM files, among them {burned[0]}, state that text is burned into their pixels "
            "(Burned In Annotation YES). It stays in the output; look at the images before you share them."
        )
