# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Which images or cases are of one patient: the unit that is never divided into training and test images.

A table says it, or the Patient ID of DICOM files. Without either, each image or case counts as a patient. Only groups
are kept, which say nothing else about a patient.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import chain, count
from pathlib import Path
from typing import Final

from monai_advenc.data.dicom.file import parse_dicom
from monai_advenc.data.quiet_parsers import quiet_parsers
from monai_advenc.errors import DatasetError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.files.names import comparable
from monai_advenc.files.tables import csv_text, read_table

PATIENT_TABLE: Final = "patients.csv"
"""Table in a folder of originals, images or volumes: which of them are of one patient."""

PATIENT: Final = "patient"
"""Its column, which tables of cases may have too."""

_NUMBER: Final = ("PatientID", "IssuerOfPatientID")

_ISSUED_BY: Final = "/"


def read_patients(table: Path, of: str) -> dict[str, str]:
    """Read the patient of each image or case, by its comparable name.

    Args:
        table: A table with a column ``patient``; :data:`PATIENT_TABLE` must have it, others may.
        of: The column of the names: ``"image"`` or ``"case"``.

    Returns:
        The patients; empty where there is no table, or where its column is missing or empty.

    Raises:
        DatasetError: The table cannot be read, or an image or case has no patient or two.
    """
    if not table.is_file():
        return {}
    is_required = table.name == PATIENT_TABLE
    rows = read_table(table, (of, PATIENT) if is_required else (of,), () if is_required else (PATIENT,))
    if not is_required and not any(row.get(PATIENT) for row in rows):
        return {}
    patient_of: dict[str, str] = {}
    for row in rows:
        name, patient = comparable(row[of]), comparable(row[PATIENT])
        if not patient or patient_of.setdefault(name, patient) != patient:
            raise DatasetError(f"{of} {row[of]!r} has no patient or two in {table}; keep the right row")
    return patient_of


def patient_in_header(path: Path) -> str | None:
    """Checksums of Patient ID, and of its issuer if stated, in a DICOM file; ``None`` without one, or if damaged.

    Patients are told apart by :func:`without_missing_issuers` of all files together.
    """
    try:
        with quiet_parsers():
            header = parse_dicom(path, stop_before_pixels=True, specific_tags=[*_NUMBER])
            number, issuer = (str(header.get(name) or "").strip() for name in _NUMBER)
    except Exception:  # noqa: BLE001 - Parsers raise any exception for damaged files.
        return None
    if not number:
        return None
    return _ISSUED_BY.join(hashlib.sha256(part.encode()).hexdigest()[:16] for part in (number, issuer) if part)


def without_missing_issuers(patient_of: Mapping[str, str | None]) -> dict[str, str | None]:
    """Make one patient of those with equal Patient IDs of which some state no issuer.

    Args:
        patient_of: What :func:`patient_in_header` found for each image or case.
    """
    alone = {patient for patient in patient_of.values() if patient is not None and _ISSUED_BY not in patient}
    numbers = {name: patient and patient.split(_ISSUED_BY)[0] for name, patient in patient_of.items()}
    return {name: numbers[name] if numbers[name] in alone else patient for name, patient in patient_of.items()}


def grouped(patient_of: Mapping[str, str | None], earlier: Mapping[str, str] | None = None) -> dict[str, str]:
    """Name each patient after its first image or case, so that nothing is known but which of them are of one patient.

    Args:
        patient_of: Patient of each image or case; ``None``: unknown, then it keeps its earlier group, or has its own.
        earlier: Groups named earlier; a patient keeps one of its own.

    Returns:
        The group of each image or case, and the earlier groups of others.
    """
    held, given = dict(earlier or {}), dict(earlier or {})
    used, taken, names_of = set(held.values()), set[str](), dict[str, list[str]]()
    for name, patient in sorted(patient_of.items()):
        names_of.setdefault(f"\0{name}" if patient is None else patient, []).append(name)
    for patient, names in names_of.items():
        groups = [held[name] for name in names if name in held]
        if not patient.startswith("\0"):
            groups = [group for group in groups if group not in taken]
        free = (f"{names[0]} ({number})" for number in count(2))
        group = groups[0] if groups else next(name for name in chain(names, free) if name not in used)
        taken.add(group)
        given |= dict.fromkeys(names, group)
    return given


def keep_patients(folder: Path, patient_of: Mapping[str, str | None], others: Iterable[str] = ()) -> None:
    """Write the table of patients of a folder of originals, if patients are known; never into one that is shared.

    Args:
        folder: The folder.
        patient_of: Patient of each image; ``None``: unknown.
        others: Images in the folder whose patients are not known any more.

    Raises:
        DatasetError: The table of an earlier run is damaged.
        OutputError: The table cannot be written.
    """
    if not any(patient_of.values()):
        return  # The owner may have written the table.
    table = folder / PATIENT_TABLE
    known = {comparable(name): patient for name, patient in patient_of.items()}
    given = grouped({**dict.fromkeys(map(comparable, others)), **known}, read_patients(table, "image"))
    content = csv_text(("image", PATIENT), sorted(given.items())).encode()
    if not table.is_file() or table.read_bytes() != content:
        write_atomically(table, content, overwrite=True, mode=0o600)
