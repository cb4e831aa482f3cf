# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Find cases: an image volume, its tumor mask and its class, in one of several folder layouts.

:mod:`monai_advenc.data.volumes.layouts.recognize` decides which layout a folder has; ``docs/layouts.md`` draws each.

A column ``patient`` of ``cases.csv`` or ``labels.csv``, or a table ``patients.csv`` (case, patient), says which cases
are of one patient; without it, the Patient ID of DICOM files and the subject of BIDS do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from monai_advenc.data.patients import PATIENT_TABLE, read_patients, without_missing_issuers
from monai_advenc.data.skipped import say_skipped
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.layouts.listed import CASE_TABLE, are_listed, decathlon_task
from monai_advenc.data.volumes.layouts.recognize import recognize
from monai_advenc.data.volumes.layouts.source import Fault, Source
from monai_advenc.data.volumes.names import subfolders
from monai_advenc.errors import DatasetError
from monai_advenc.files.names import comparable, exists, repeated_ids, require_distinct_classes, require_file_name
from monai_advenc.progress import Progress


@dataclass(frozen=True)
class CaseList:
    """The cases found, sorted by class and id, and the names of their classes.

    Attributes:
        cases: The cases.
        classes: The names of their classes, sorted.
        passed_over: Skipped folders: those without a case.
        root: The folder in which they were found.
        layout: The layout of the folder, in words.
        notes: What was understood and may be wrong, in one line each.
        expected: What the skipped folders or files are not.
    """

    cases: tuple[Case, ...]
    classes: tuple[str, ...]
    passed_over: tuple[Path, ...] = ()
    root: Path | None = None
    layout: str = ""
    notes: tuple[str, ...] = ()
    expected: str = "folders of cases"

    def class_counts(self) -> dict[str, int]:
        """How many cases each class has."""
        return {name: sum(case.label == name for case in self.cases) for name in self.classes}

    def patient_counts(self) -> dict[str, int]:
        """How many patients each class has; a case whose patient is unknown counts as one."""
        own = {(case.label, case.patient or f"\0{case.id}") for case in self.cases}
        return {name: sum(label == name for label, _ in own) for name in self.classes}

    def classes_of_patients(self) -> dict[str, set[str]]:
        """The classes of each patient that is known; one who is named in several classes is one patient."""
        classes: dict[str, set[str]] = {}
        for case in self.cases:
            if case.patient is not None:
                classes.setdefault(case.patient, set()).add(case.label)
        return classes

    def without_patient(self) -> int:
        """How many cases have no known patient; each counts as one of its own."""
        return sum(case.patient is None for case in self.cases)

    def inputs(self) -> list[Path]:
        """Every image and mask, and, unless a table lists them, the folder with all that lies in it."""
        read = [path for case in self.cases for path in (case.image, case.mask) if path is not None]
        return read if self.root is None or are_listed(self.root) else [*read, self.root]

    def say(self, progress: Progress) -> None:
        """Report what was understood and may be wrong, and which folders were skipped."""
        for note in self.notes:
            progress.say(f"Note: {note}.")
        if self.root is not None:
            say_skipped(self.passed_over, self.root, self.expected, progress)


def find_cases(
    folder: Path, *, labels: Path | None = None, channel: str | None = None, label_column: str | None = None
) -> CaseList:
    """Find the cases below a folder in any of the layouts of ``docs/layouts.md``.

    Args:
        folder: The folder.
        labels: Table (case, label) of the classes, for layouts that do not name them; ``None``: ``labels.csv`` in
            ``folder``.
        channel: Which image of a case is meant where there are several: number or name of an nnU-Net channel, kind of
            a BIDS image (``T1w``), modality in a BraTS name, or the end of a file name; ``None``: the only one.
        label_column: Column of the class in that table, or in ``participants.tsv`` of BIDS; ``None``: the only one that
            may be it.

    Returns:
        The cases; always in the same order.

    Raises:
        DatasetError: No folder, no cases, two cases or two classes whose names are equal or differ only in case,
            blanks or Unicode form, a missing image, or a case without a class.
    """
    cases, faults = survey_cases(folder, labels=labels, channel=channel, label_column=label_column)
    for fault in faults:
        raise DatasetError(fault.message)
    require_distinct_classes(cases.classes)
    return cases


def survey_cases(
    folder: Path, *, labels: Path | None = None, channel: str | None = None, label_column: str | None = None
) -> tuple[CaseList, tuple[Fault, ...]]:
    """Find the cases as :func:`find_cases` does, and everything that is wrong with their names, classes and patients.

    Raises:
        DatasetError: No folder, no cases, or a table that cannot be read.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; give the folder that holds the volumes")
    folder = decathlon_task(folder)
    source = Source(folder, labels, channel, label_column)
    layout, found = recognize(source)
    cases = sorted(found, key=lambda case: (case.label, case.id))
    faults = [*source.faults, *_faults(cases)]
    classes = tuple(sorted({case.label for case in cases if case.label}))
    passed_over = () if are_listed(folder) else tuple(_folders_without_cases(folder, cases))
    cases, without = _with_patients(cases, (folder / CASE_TABLE, source.label_table, folder / PATIENT_TABLE))
    listed = CaseList(tuple(cases), classes, passed_over, folder, layout.name, tuple(source.notes))
    return listed, (*faults, *without)


def _with_patients(cases: list[Case], tables: Iterable[Path]) -> tuple[list[Case], list[Fault]]:
    """The cases with the patients of the first table that names any; those of DICOM headers if none does."""
    for table in tables:
        patient_of = read_patients(table, "case")
        if patient_of:
            faults = [
                Fault(
                    each.id,
                    f"case {each.id!r} has no patient in {table}, whose column case takes ids, such as {each.id!r} for "
                    f"{_below(table.parent, each.image)}; add it, or leave out all patients",
                )
                for each in cases
                if comparable(each.id) not in patient_of
            ]
            return [replace(case, patient=patient_of.get(comparable(case.id))) for case in cases], faults
    named = without_missing_issuers({case.id: case.patient for case in cases})
    return [replace(case, patient=named[case.id]) for case in cases], []


def _below(folder: Path, path: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def _folders_without_cases(folder: Path, cases: Iterable[Case]) -> Iterable[Path]:
    holding = {
        each.relative_to(folder).parts[0] for case in cases for each in (case.image, case.mask) if each is not None
    }
    return (path for path in subfolders(folder) if path.name not in holding)


def _faults(cases: Sequence[Case]) -> Iterator[Fault]:
    for name, problem in repeated_ids("cases", ((case.id, case.image) for case in cases)):
        yield Fault(name, problem)
    for case in cases:
        try:
            require_file_name("case id", case.id, case.image)
            if case.label:
                require_file_name("class", case.label, case.image)
        except DatasetError as error:
            yield Fault(case.id, str(error))
        if not exists(case.image):
            yield Fault(case.id, f"case {case.id!r} names {case.image}, which does not exist; correct the table")
