# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Traces of a patient in text: names, numbers, days and UIDs that a DICOM header tells of, and where they stand."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from monai_advenc.data.dicom.identity.days import is_day, writings_of
from monai_advenc.data.dicom.identity.spelling import compact, is_syllabic, passages, spellings, taken_apart, words_of
from monai_advenc.data.quiet_parsers import quiet_parsers

_PATIENT_WORDS = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
)
"""Names and numbers of the patient; as whole words they give the patient away however short they are."""

_IDENTITY_WORDS = (
    *_PATIENT_WORDS,
    "PatientAddress",
    "PatientTelephoneNumbers",
    "MedicalRecordLocator",
    "AccessionNumber",
)
"""What stands for a patient wherever it is; besides, all names of persons."""

_ORDER_NUMBERS = (
    *("AdmissionID", "ServiceEpisodeID", "RequestedProcedureID", "ScheduledProcedureStepID"),
    *("PerformedProcedureStepID", "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest"),
    *("PlacerOrderNumberProcedure", "FillerOrderNumberProcedure"),
    *("PlacerOrderNumberImagingServiceRequestRetired", "FillerOrderNumberImagingServiceRequestRetired"),
)
"""Numbers of stays and orders, which lead to one patient. Those of few digits number a study's steps, or name a kind of
examination or a scanner."""

_PLACE_WORDS = ("InstitutionName", "InstitutionAddress")

_DAYS = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")

_OBJECT_UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")

_MADE_NAME = re.compile(r"case-[0-9a-f]{12}")
"""What :meth:`IdentityRule.case_name` makes: what stands there stands there by chance."""

_MADE_UID = re.compile(r"(?<![\d.])2\.25\.\d{20,39}(?![\d.])")
"""UIDs made of a UUID (PS3.5, B.2), in whose many digits short numbers stand by chance."""

_SHORTEST_WORD = 4
"""Shorter names and numbers stand inside innocent words by chance; they count as whole words only."""

_SHORTEST_WHOLE_WORD = 2

_SHORTEST_IN_TERM = 6
"""Terms of the standard are capitals in a row (MONOCHROME2 holds Rome): within one word only longer names count."""

_SHORTEST_NUMBER = 5
"""Shorter numbers equal a size or a time by chance."""

_SHORTEST_ORDER_NUMBER = 6
"""In digits."""

_SHORTEST_STUDY_ID = 3
"""Shorter ones number the studies of a patient or a day."""

_NAME_PARTS = 3
"""Family, given and middle name; what follows in a name of DICOM are titles (PS3.5, 6.2)."""

_MOST_JOINED = 4
"""So many words of a name are joined in any order."""


@dataclass(frozen=True)
class Traces:
    """What gives a patient away, spelled as :func:`spellings` does.

    Attributes:
        anywhere: Long names and numbers, which count within words too.
        whole: Short ones, and long ones in other forms: they count as whole words, which separators may divide.
        days: Patterns of the days of birth and examination.
    """

    anywhere: frozenset[str]
    whole: frozenset[str]
    days: tuple[re.Pattern[str], ...]

    def stand_in(self, text: str) -> bool:
        """Whether any stands in a text."""
        return any(
            any(word in passage.text for word in self.anywhere)
            or any(passage.has_word(word) for word in self.whole)
            or any(day.search(passage.text) for day in self.days)
            for passage in passages(text)
        )

    def stand_in_term(self, term: str) -> bool:
        """Whether any stands in a term, such as of kind CS, which is like no term of the standard."""
        return any(
            any(word in passage.text for word in self.anywhere if len(word) >= _SHORTEST_IN_TERM)
            or any(passage.has_word(word) for word in self.whole if len(word) >= _SHORTEST_WORD)
            or any(day.search(passage.text) for day in self.days)
            for passage in passages(term)
        )

    def include_number(self, number: str) -> bool:
        """Whether a number, such as of kind IS or DS, is one of them; never one of few digits."""
        whole_number = re.sub(r"\.0*$", "", number.strip())
        digits = whole_number.lstrip("+-0")
        is_known = digits in self.whole or any(day.fullmatch(whole_number) for day in self.days)
        return is_known and len(digits) >= _SHORTEST_NUMBER


def is_well_known(uid: str) -> bool:
    """Whether a UID is in the standard's registry (PS3.6, annex A): it names a kind of things, no patient's."""
    return bool(UID(uid).type)


def names_patient(name: str, dataset: Dataset) -> bool:
    """Whether a name, number or day of the patient, a physician or the study, or an object's UID, stands in ``name``.

    Never in names that this package made.
    """
    if _MADE_NAME.fullmatch(name):
        return False
    with quiet_parsers():
        traces = _traces(dataset, in_names=True)
        uids = set(_object_uids(dataset))
    name = _MADE_UID.sub(lambda found: found[0] if found[0] in uids else " ", name)
    return traces.stand_in(name) or traces.stand_in(taken_apart(name))


def traces_of(dataset: Dataset) -> Traces:
    """Names, numbers and days of the patient and those around, and UIDs, to look for in the text of headers."""
    return _traces(dataset, in_names=False)


def _traces(dataset: Dataset, *, in_names: bool) -> Traces:
    """Traces for names of files, or for headers, in which places count and numbers of few digits are codes."""
    anywhere, whole, days = set(_object_uids(dataset)), set(), set()
    for element in _elements(dataset):
        keyword = element.keyword
        shortest = _SHORTEST_WHOLE_WORD if keyword in _PATIENT_WORDS else _SHORTEST_WORD
        for value in _texts(element):
            if keyword in _DAYS:
                days.add(re.sub(r"\D", "", value)[:8])
            elif in_names and keyword == "StudyID":
                whole |= {word for word in map(compact, spellings(value)) if _is_telling_study(word)}
            elif element.VR == "PN" or _is_of_one_patient(keyword, value) or (keyword in _PLACE_WORDS and not in_names):
                plain = {word for each in spellings(value) for word in _plain_forms(element, each)}
                other = {word for each in spellings(value) for word in _other_forms(element, each)}
                anywhere |= {word for word in plain if _counts_anywhere(word)}
                whole |= {word for word in plain | other if len(word) >= (1 if is_syllabic(word) else shortest)}
    whole |= {compact(uid) for uid in _object_uids(dataset)}
    patterns = tuple(writings_of(day, short_years=in_names) for day in sorted(days) if is_day(day))
    return Traces(frozenset(anywhere), frozenset(whole), patterns)


def _is_of_one_patient(keyword: str, value: str) -> bool:
    digits = sum(map(str.isdigit, value))
    return keyword in _IDENTITY_WORDS or (keyword in _ORDER_NUMBERS and digits >= _SHORTEST_ORDER_NUMBER)


def _counts_anywhere(word: str) -> bool:
    # Two syllables are a name already, and in their scripts there are no spaces that would make it a whole word.
    return len(word) >= (_SHORTEST_WHOLE_WORD if is_syllabic(word) else _SHORTEST_WORD)


def _is_telling_study(word: str) -> bool:
    return len(word.lstrip("0") if word.isdigit() else word) >= _SHORTEST_STUDY_ID


def _plain_forms(element: DataElement, value: str) -> Iterator[str]:
    """A spelled value as it stands, and the parts of a name."""
    yield value
    if element.VR == "PN":
        for group in value.split("="):
            components = group.split("^")
            yield from (part for each in components[:_NAME_PARTS] for part in (each.strip(), *words_of(each)))
            titles = [part for each in components[_NAME_PARTS:] for part in words_of(each)]
            yield from (part for part in titles if len(part) >= _SHORTEST_WORD)
            yield from (word for word in _joined(components) if is_syllabic(word))
    elif "Name" in element.keyword:
        yield from (part for part in words_of(value) if len(part) >= _SHORTEST_WORD)


def _other_forms(element: DataElement, value: str) -> Iterator[str]:
    """A spelled name with its parts joined; a number without separators, leading zeros and letters."""
    if element.VR == "PN":
        joined = (word for group in value.split("=") for word in _joined(group.split("^")))
        yield from (word for word in joined if len(word) >= _SHORTEST_WORD)
        return
    yield compact(value)
    digits = re.sub(r"\D", "", value).lstrip("0")
    if compact(value).isdigit() or len(digits) >= _SHORTEST_NUMBER:
        yield digits


def _joined(components: list[str]) -> Iterator[str]:
    """Two and three words of a name without what separates them, in any order."""
    parts = [part for each in components[:_NAME_PARTS] for part in words_of(each)][:_MOST_JOINED]
    return ("".join(order) for length in (2, 3) for order in permutations(parts, length))


def _object_uids(dataset: Dataset) -> Iterator[str]:
    """UIDs of objects, which anyone with access to the archive can look up; a text may hold the address of one."""
    for element in _elements(dataset):
        uid = str(element.value).lower() if element.keyword in _OBJECT_UIDS else ""
        if len(uid) >= _SHORTEST_WORD and not is_well_known(uid):
            yield uid


def _texts(element: DataElement) -> Iterator[str]:
    """The values of an element as text, without those that are empty."""
    values: Iterable[object] = element.value if isinstance(element.value, MultiValue | list) else [element.value]
    return (text for text in (str(each or "").strip() for each in values) if text)


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    """All elements that can be read, those in sequences too."""
    for tag in list(dataset.keys()):
        with contextlib.suppress(Exception):  # What cannot be read is removed later.
            element = dataset[tag]
            yield element
            if element.VR == "SQ":
                for item in element.value:
                    yield from _elements(item)
