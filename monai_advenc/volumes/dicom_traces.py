# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Traces of a patient in text: names, numbers and UIDs that a DICOM header tells of, and whether a text holds one."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from monai_advenc.volumes.quiet_parsers import quiet_parsers

WELL_KNOWN_UIDS: Final = "1.2.840.10008."
"""SOP classes, transfer syntaxes and the like: they name kinds of things, no patient's."""

_PATIENT_WORDS = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
)
"""Names and numbers of the patient; as whole words they give the patient away however short they are."""

_IDENTITY_WORDS = (
    *_PATIENT_WORDS,
    "PatientBirthDate",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "MedicalRecordLocator",
    "AccessionNumber",
)
"""What stands for a patient wherever it is; besides, all names of persons."""

_PLACE_WORDS = ("InstitutionName", "InstitutionAddress")

_OBJECT_UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")

_CASE_NAME = re.compile(r"case-[0-9a-f]{12}")

_SHORTEST_WORD = 4
"""Shorter names and numbers stand inside innocent words by chance; they count as whole words only."""

_SHORTEST_WHOLE_WORD = 2


def names_patient(name: str, dataset: Dataset) -> bool:
    """Whether a name or number of the patient or of a physician, or the UID of an object, stands in ``name``.

    Never in a name that :meth:`IdentityRule.case_name` made: what stands there stands there by chance.
    """
    if _CASE_NAME.fullmatch(name):
        return False
    with quiet_parsers():
        words = set(_identity_words(dataset, places=False))
        uids = set(_object_uids(dataset))
    return holds_trace(words | uids, name)


def traces_of(dataset: Dataset) -> frozenset[str]:
    """Names and numbers of the patient and those around, and UIDs, for :func:`holds_trace`."""
    return frozenset([*_identity_words(dataset), *_object_uids(dataset)])


def holds_trace(traces: Iterable[str], text: str) -> bool:
    """Whether any of ``traces``, in lower case, stands in a text; short ones as whole words."""
    text = text.lower()
    whole = set(re.split(r"[\W_]+", text))
    return any(word in text if len(word) >= _SHORTEST_WORD else word in whole for word in traces)


def _identity_words(dataset: Dataset, *, places: bool = True) -> Iterator[str]:
    """Names and numbers of the patient and those around, in lower case: whole values, and the parts of names.

    Args:
        dataset: The data set; what stands in its sequences counts too.
        places: Whether names of institutions are among them; their parts are common words.
    """
    for element in _elements(dataset):
        is_person = element.VR == "PN"
        if not is_person and element.keyword not in _IDENTITY_WORDS + (_PLACE_WORDS if places else ()):
            continue
        shortest = _SHORTEST_WHOLE_WORD if element.keyword in _PATIENT_WORDS else _SHORTEST_WORD
        value = element.value
        values: Iterable[Any] = value if isinstance(value, MultiValue | list) else [value]
        for each in values:
            text = str(each or "").strip().lower()
            parts = re.split(r"[\s^=,]+", text) if is_person or "Name" in element.keyword else []
            yield from (part for part in {text, *parts} if len(part) >= shortest)


def _object_uids(dataset: Dataset) -> Iterator[str]:
    """UIDs of objects, which whoever has the archive can look up; a text may hold the address of one."""
    for element in _elements(dataset):
        uid = str(element.value) if element.keyword in _OBJECT_UIDS else ""
        if len(uid) >= _SHORTEST_WORD and not uid.startswith(WELL_KNOWN_UIDS):
            yield uid.lower()


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    """All elements that can be read, those in sequences too."""
    for tag in list(dataset.keys()):
        with contextlib.suppress(Exception):  # What cannot be read is removed later.
            element = dataset[tag]
            yield element
            if element.VR == "SQ":
                for item in element.value:
                    yield from _elements(item)
