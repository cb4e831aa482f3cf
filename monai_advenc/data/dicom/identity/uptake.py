# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Keep what a standardized uptake value (SUV) needs when the identity goes: weight, size, sex, and decay times.

An SUV needs the patient's weight (lean mass also size and sex) and the time from the injection to the image, because
the injected dose decays. PS3.15 has options for both: Retain Patient Characteristics (E.3.7), and Retain Longitudinal
Temporal Information with Modified Dates (E.3.6). They apply to objects that state a radiopharmaceutical, and to those
attributes only. All moments of an object move by one distance, which puts the injection at 1:00 on January 1, 1900:
differences stay to the microsecond, and the moments themselves tell nothing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import DA, DT, TM

from monai_advenc.data.dicom.functional_groups import functional_groups

INJECTION: Final = datetime(1900, 1, 1, 1)  # noqa: DTZ001  # A dummy, in no time zone.
"""Where the earliest injection of an object moves: early, so that what follows on the same day stays on one day."""

_DAY: Final = timedelta(days=1)
_NUMBER: Final = re.compile(r"\d+(\.\d*)?|\.\d+")
_SEXES: Final = ("M", "F", "O")

_FIRST_YEAR: Final = 1000

_PAIRS: Final = (("AcquisitionDate", "AcquisitionTime"), ("SeriesDate", "SeriesTime"))
_MOMENTS: Final = (
    *("AcquisitionDateTime", "DecayCorrectionDateTime", "FrameReferenceDateTime", "FrameAcquisitionDateTime"),
    "RadiopharmaceuticalStartDateTime",
)

CHARACTERISTICS: Final = codes.DCM.RetainPatientCharacteristicsOption
MODIFIED_DATES: Final = codes.DCM.RetainLongitudinalTemporalInformationModifiedDatesOption


@dataclass(frozen=True)
class Uptake:
    """What an SUV needs of one object.

    Attributes:
        values: Data sets within the object, keywords and the values that they get.
        options: Codes of the options of PS3.15 that allow this (PS3.16, CID 7050).
    """

    values: tuple[tuple[Dataset, str, str], ...]
    options: tuple[Any, ...]

    @property
    def has_moments(self) -> bool:
        """Whether moments are among the values."""
        return MODIFIED_DATES in self.options

    def put_back(self) -> None:
        """Write the values into the object, whose identity has been removed since."""
        for place, keyword, value in self.values:
            setattr(place, keyword, value)


def uptake_of(dataset: Dataset) -> Uptake:
    """What an SUV needs of an object, its moments moved; nothing of an object that states no radiopharmaceutical."""
    with contextlib.suppress(Exception):  # What cannot be read is removed like everything else.
        injections = list(dataset.get("RadiopharmaceuticalInformationSequence") or [])
        if injections:
            return _uptake(dataset, injections)
    return Uptake((), ())


def _uptake(dataset: Dataset, injections: list[Dataset]) -> Uptake:
    patient = [(dataset, keyword, value) for keyword, value in _characteristics(dataset)]
    moments = list(_moments_of(dataset, injections))
    starts = [moment for _, keyword, moment in moments if keyword.startswith("Radiopharmaceutical")]
    # Without an injection the series is the origin: its moment is the same in all slices.
    starts = starts or [moment for _, keyword, moment in moments if keyword.startswith("Series")]
    moved = (
        [
            (place, keyword, written)
            for place, keyword, moment in moments
            for written in _written(keyword, moment - min(starts))
        ]
        if starts
        else []
    )
    options = [code for code, values in ((CHARACTERISTICS, patient), (MODIFIED_DATES, moved)) if values]
    return Uptake((*patient, *moved), tuple(options))


def _characteristics(dataset: Dataset) -> Iterator[tuple[str, str]]:
    for keyword in ("PatientWeight", "PatientSize"):
        value = str(dataset.get(keyword) or "").strip()
        if _NUMBER.fullmatch(value):  # Nothing that somebody typed instead.
            yield keyword, value
    if dataset.get("PatientSex") in _SEXES:
        yield "PatientSex", str(dataset.PatientSex)


def _moments_of(dataset: Dataset, injections: list[Dataset]) -> Iterator[tuple[Dataset, str, datetime]]:
    """The moments that count: data sets, keywords, and when it was in the object's own time zone."""
    days = {keyword: _parsed(DA, dataset, keyword) for keyword, _ in _PAIRS}
    any_day = next((day for day in days.values() if day is not None), INJECTION.date())
    acquired = None
    for keyword, clock in _PAIRS:
        at = _parsed(TM, dataset, clock)
        if at is not None:
            moment = datetime.combine(days[keyword] or any_day, at)
            acquired = acquired or moment
            yield from ((dataset, each, moment) for each in (keyword, clock) if each == clock or days[keyword])
    frames = [item for group in functional_groups(dataset) for item in group.get("FrameContentSequence") or []]
    for place in (dataset, *frames, *injections):
        for keyword in _MOMENTS:
            moment = _parsed(DT, place, keyword)
            if moment is not None:
                yield place, keyword, _local(moment, dataset)
    for injection in injections:
        at = _parsed(TM, injection, "RadiopharmaceuticalStartTime")
        if at is not None and acquired is not None:
            moment = datetime.combine(acquired.date(), at)
            # It has no date: the injection is the last one before the image.
            yield injection, "RadiopharmaceuticalStartTime", moment - _DAY if moment > acquired else moment


def _parsed(kind: Any, place: Dataset, keyword: str) -> Any:
    """A value as a date or time of Python; ``None`` where it is missing or damaged."""
    try:
        return kind(str(place.get(keyword) or ""))
    except ValueError:
        return None


def _local(moment: datetime, dataset: Dataset) -> datetime:
    """A moment as the object's other times are given; where it does not say, these are of the same time zone."""
    offset = str(dataset.get("TimezoneOffsetFromUTC") or "").strip()
    if moment.tzinfo is not None and offset:
        # pydicom reads an offset as a part of a moment only.
        with contextlib.suppress(ValueError, OverflowError):
            moment = moment.astimezone(DT(f"{INJECTION:%Y%m%d%H%M%S}{offset}").tzinfo)
    return moment.replace(tzinfo=None)


def _written(keyword: str, since: timedelta) -> Iterator[str]:
    """A moment as an element of the given name has it; none if it is further away than years can be written."""
    try:
        moment = INJECTION + since
    except OverflowError:
        return
    if moment.year < _FIRST_YEAR:
        return
    clock = f"{moment:%H%M%S}" + (f".{moment.microsecond:06}" if moment.microsecond else "")
    if keyword.endswith("DateTime"):
        yield f"{moment:%Y%m%d}{clock}"
    else:
        yield f"{moment:%Y%m%d}" if keyword.endswith("Date") else clock
