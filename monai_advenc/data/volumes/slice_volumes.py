# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Cut a folder of volumes into a folder of unencrypted slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_advenc.data.checking.check_volumes import check_volumes
from monai_advenc.data.checking.compared_cases import mostly_padding
from monai_advenc.data.volumes.cases import CaseList, find_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.layouts.listed import are_listed
from monai_advenc.data.volumes.plane import count_planes, say_planes
from monai_advenc.data.volumes.slicing import SliceFailure, read_records, slice_cases
from monai_advenc.errors import OutputError
from monai_advenc.progress import ConsoleProgress, Progress, saying_what_was_done
from monai_advenc.workers import available_cores


@dataclass(frozen=True)
class Cuts:
    """The cuts of all cases.

    Attributes:
        planes: Number of cases cut in each plane.
        cropped: Share of the tumor kept, for each case whose tumor is larger than the slice.
        failures: The cases that could not be cut; empty unless ``keep_going``.
    """

    planes: Mapping[str, int] = field(default_factory=dict)
    cropped: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[SliceFailure, ...] = ()


@dataclass(frozen=True)
class SlicedVolumes:
    """The result of cutting volumes.

    Attributes:
        out: The folder of slices.
        cases: What was found.
        cuts: What was cut, and what could not be.
    """

    out: Path
    cases: CaseList
    cuts: Cuts = Cuts()

    @property
    def failures(self) -> tuple[SliceFailure, ...]:
        """The cases that could not be cut; empty unless ``keep_going``."""
        return self.cuts.failures


def slice_volumes(
    volumes: str | Path,
    out: str | Path,
    settings: SliceSettings = SliceSettings(),
    *,
    labels: str | Path | None = None,
    channel: str | None = None,
    label_column: str | None = None,
    file_format: str = "nifti",
    workers: int | None = None,
    keep_going: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SlicedVolumes:
    """Cut each volume at its largest tumor cross-section; write the slices, unencrypted, in class folders.

    Args:
        volumes: Folder of cases, in one of the layouts of :mod:`monai_advenc.data.volumes.cases`.
        out: Folder for the slices; the same call resumes an interrupted run.
        settings: Plane, size, what counts as tumor.
        labels: Table (case, label) of the classes, for layouts that do not name them.
        channel: Which image of a case is meant where there are several, see :func:`find_cases`.
        label_column: Column of the class in that table, or in ``participants.tsv`` of BIDS.
        file_format: ``"nifti"``, ``"png16"``, ``"png8"`` or ``"dicom"``.
        workers: Worker processes; ``None``: one for each core.
        keep_going: Go on after a case that cannot be cut.
        dry_run: Only open and check the cases; write nothing.
        progress: Receives messages and progress; ``None``: stderr.

    Raises:
        DatasetError: No cases, or cases that do not fit together.
        OutputError: ``out`` lies among the volumes, holds something else, or cannot be written.
        AdvencError: A case failed and ``keep_going`` is off; those done so far stay.
    """
    progress, root, out = progress or ConsoleProgress(), Path(volumes), Path(out)
    if not are_listed(root) and root.resolve() in (out.resolve(), *out.resolve().parents):
        raise OutputError(
            f"{out} lies in {root}, where the next run would read the slices as cases; choose another --out"
        )
    table, count = None if labels is None else Path(labels), available_cores() if workers is None else workers
    if dry_run:
        layout: dict[str, Any] = {"labels": table, "channel": channel, "label_column": label_column}
        checked = check_volumes(root, settings, **layout, workers=count, progress=progress)
        checked.say(progress, refused=keep_going)
        checked.require_usable(keep_going=keep_going)
        return SlicedVolumes(out, checked.found)
    cases = find_cases(root, labels=table, channel=channel, label_column=label_column)
    cases.say(progress)
    cuts = cut_cases(
        cases, settings, out, file_format=file_format, workers=count, keep_going=keep_going, progress=progress
    )
    return SlicedVolumes(out, cases, cuts)


def cut_cases(
    cases: CaseList,
    settings: SliceSettings,
    out: Path,
    *,
    file_format: str,
    workers: int,
    keep_going: bool,
    progress: Progress,
    elsewhere: str = "--out",
) -> Cuts:
    """Cut all cases and report the result; see :func:`slice_volumes`."""
    with progress.stage("slicing", len(cases.cases)) as advance:
        failures = slice_cases(
            cases.cases,
            settings,
            out,
            file_format=file_format,
            workers=workers,
            keep_going=keep_going,
            elsewhere=elsewhere,
            progress=saying_what_was_done(advance, progress, len(cases.cases)),
        )
    if failures:
        progress.table("Not sliced", ("case", "why"), [(each.id, each.message) for each in failures])
    progress.say(f"Cut {len(cases.cases) - len(failures)} cases at the largest tumor cross-section into {out}.")
    records = read_records(out, cases.cases)
    planes = count_planes(record["plane"] for record in records)
    if settings.plane == "acquired":
        say_planes(planes, progress)
    # Version 0.1 did not note the share.
    cropped = {record["case"]: kept for record in records if (kept := record.get("tumor_kept", 1)) < 1}
    _warn_of_cropping(cropped, len(records), settings, progress)
    _warn_of_padding([record.get("padding") for record in records], settings, progress)
    return Cuts(planes, cropped, failures)


def _warn_of_cropping(cropped: Mapping[str, float], cut: int, settings: SliceSettings, progress: Progress) -> None:
    if cropped:
        progress.table("Cropped tumors", ("case", "kept"), [(case, f"{kept:.0%}") for case, kept in cropped.items()])
        progress.say(
            f"Warning: {len(cropped)} of {cut} tumors are larger than {settings.size} pixels and were cropped; "
            f"{min(cropped.values()):.0%} of the tumor is kept at the least. Give a larger --size, or --fit resize."
        )


def _warn_of_padding(padding: Sequence[Sequence[int] | None], settings: SliceSettings, progress: Progress) -> None:
    """Say if padding fills most of every slice, before any work on the slices."""
    if settings.size is None or not padding:
        return
    empty = ((0, 0) if each is None else (each[0] + each[1], each[2] + each[3]) for each in padding)
    told = mostly_padding(settings.size - min(map(min, empty)), settings.size, settings.fit)
    if told is not None:
        progress.say(f"Warning: {told}. The size holds for a whole folder, so give another --out with it.")
