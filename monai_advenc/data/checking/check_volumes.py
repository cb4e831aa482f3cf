# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Find and open every case of a folder of volumes, and everything that is wrong with it, before any work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from monai_advenc.data.checking.checked import Checked
from monai_advenc.data.checking.checked_case import MOST_KEPT, CheckedCase, check_case
from monai_advenc.data.checking.compared_cases import compare_cases, compare_with_size
from monai_advenc.data.volumes.cases import CaseList, survey_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.layouts.source import Fault
from monai_advenc.errors import DatasetError
from monai_advenc.files.names import require_distinct_classes
from monai_advenc.progress import Progress
from monai_advenc.workers import map_in_workers


def check_volumes(
    folder: Path,
    settings: SliceSettings,
    *,
    labels: Path | None = None,
    channel: str | None = None,
    label_column: str | None = None,
    workers: int = 0,
    progress: Progress,
) -> Checked:
    """Open every case of a folder and cut it, without writing anything.

    Args:
        folder: The folder, in one of the layouts of ``docs/layouts.md``.
        settings: Plane, size, what counts as tumor.
        labels: Table (case, label) of the classes.
        channel: Which image of a case is meant where there are several.
        label_column: Column of the class.
        workers: Worker processes.
        progress: Receives progress.

    Raises:
        DatasetError: No folder, or no cases: the folder has no layout, or one that lacks something.
    """
    found, faults = survey_cases(folder, labels=labels, channel=channel, label_column=label_column)
    with progress.stage("checking", len(found.cases)) as advance:
        cases: list[CheckedCase] = []
        for case in map_in_workers(partial(check_case, settings), found.cases, workers):
            cases.append(case if case.problem or len(cases) < MOST_KEPT else replace(case, picture=None))
            advance(1)
    # A missing image was noticed in the table and again when it was read.
    known = {fault.case for fault in faults if "does not exist" in fault.message}
    unreadable = [Fault(case.id, case.problem, True) for case in cases if case.problem and case.id not in known]
    return Checked(
        found=found,
        cases=tuple(cases),
        faults=(*faults, *unreadable, *_faults_of_classes(found)),
        warnings=(
            *compare_cases(cases, labels_are_chosen=settings.labels is not None),
            *compare_with_size(cases, settings.size, settings.fit),
        ),
        settings=settings,
    )


def _faults_of_classes(found: CaseList) -> Iterable[Fault]:
    try:
        require_distinct_classes(found.classes)
    except DatasetError as error:
        yield Fault("", str(error))
