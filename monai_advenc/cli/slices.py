# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc slice``, and the slicing step of ``slice-and-encrypt``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output, progress
from monai_advenc.cli.encrypt import raise_for_failures
from monai_advenc.cli.passed_over import tell_passed_over
from monai_advenc.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from monai_advenc.data.volumes.cases import CaseList
    from monai_advenc.data.volumes.cross_section import SliceSettings
    from monai_advenc.data.volumes.slicing import SliceFailure

_PANEL = "Slicing"


class Plane(str, Enum):
    """Direction of the cut."""

    axial = "axial"
    coronal = "coronal"
    sagittal = "sagittal"


class Fit(str, Enum):
    """How slices get their size."""

    pad_or_crop = "pad-or-crop"
    resize = "resize"


class SliceFormat(str, Enum):
    """File of each slice."""

    nifti = "nifti"
    png16 = "png16"
    png8 = "png8"


Volumes = Annotated[
    Path,
    typer.Argument(
        help="Folder of cases: <class>/<case>/ with image.nii.gz and seg.nii.gz, or with a DICOM series and its SEG or "
        "RTSTRUCT; cases.csv; dataset.json; BraTS names or DICOM patients with labels.csv.",
        file_okay=False,
    ),
]
PlaneOption = Annotated[Plane, typer.Option(help="Direction of the cut.", rich_help_panel=_PANEL)]
Size = Annotated[
    int, typer.Option(min=0, help="Side of the slices in pixels; 0 keeps the volume's grid.", rich_help_panel=_PANEL)
]
FitOption = Annotated[Fit, typer.Option(help="How slices get that size.", rich_help_panel=_PANEL)]
TumorLabels = Annotated[
    str | None,
    typer.Option(
        help="Mask values (DICOM: segment or ROI numbers) that count as tumor, separated by commas.",
        show_default="all but 0",
        rich_help_panel=_PANEL,
    ),
]
TumorSegment = Annotated[
    list[str] | None,
    typer.Option(
        help="Segment Label (SEG) or ROI Name (RTSTRUCT) that counts as tumor, '*' for any characters; repeatable.",
        show_default="the only one",
        rich_help_panel=_PANEL,
    ),
]
IsotropicMm = Annotated[
    float | None, typer.Option(min=0, help="Resample to square pixels of this side in mm.", rich_help_panel=_PANEL)
]
LabelTable = Annotated[
    Path | None,
    typer.Option(
        "--labels", help="Table (case,label) of the classes.", show_default="labels.csv", rich_help_panel=_PANEL
    ),
]


def slice_settings(
    plane: Plane,
    size: int,
    fit: Fit,
    tumor_labels: str | None,
    tumor_segment: list[str] | None,
    isotropic_mm: float | None,
) -> SliceSettings:
    """The settings that the options say."""
    from monai_advenc.data.volumes.cross_section import SliceSettings

    try:
        labels = None if tumor_labels is None else tuple(int(label) for label in tumor_labels.split(","))
    except ValueError:
        raise SettingsError(f"expected whole numbers separated by commas, got {tumor_labels!r}") from None
    return SliceSettings(
        plane=plane.value,
        size=size or None,
        fit=fit.value,
        labels=labels,
        segments=tuple(tumor_segment) if tumor_segment else None,
        isotropic_mm=isotropic_mm or None,
    )


def cut_and_report(
    cases: CaseList,
    settings: SliceSettings,
    out: Path,
    workers: int,
    keep_going: bool,
    output: Output,
    file_format: str,
) -> tuple[SliceFailure, ...]:
    """Cut all cases with a progress bar and say what came of it."""
    from monai_advenc.data.volumes.slicing import slice_cases

    with progress("slicing", len(cases.cases)) as advance:
        failures = slice_cases(
            cases.cases,
            settings,
            out,
            file_format=file_format,
            workers=workers,
            keep_going=keep_going,
            progress=advance,
        )
    if failures:
        output.table("Not sliced", ("case", "why"), [(each.id, each.message) for each in failures])
    output.say(f"Cut {len(cases.cases) - len(failures)} cases at the largest tumor cross-section into {out}.")
    return failures


def slice_volumes(
    volumes: Volumes,
    out: Annotated[Path, typer.Option(help="Folder for the slices; a killed run is resumed.", file_okay=False)],
    plane: PlaneOption = Plane.axial,
    size: Size = 320,
    fit: FitOption = Fit.pad_or_crop,
    tumor_labels: TumorLabels = None,
    tumor_segment: TumorSegment = None,
    isotropic_mm: IsotropicMm = None,
    labels: LabelTable = None,
    file_format: Annotated[SliceFormat, typer.Option("--format", help="File of each slice.")] = SliceFormat.nifti,
    workers: options.Workers = None,
    keep_going: options.KeepGoing = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Cut each volume at its largest tumor cross-section and write the slices, unencrypted, in class folders.

    Beside each slice lies its tumor mask (<case>.mask.png); slices.csv says which slice was taken, its tumor area in
    mm2, and which intensities became black and white.
    """
    from monai_advenc.data.volumes.cases import are_listed, find_cases

    output = Output(json)
    if not are_listed(volumes) and volumes.resolve() in (out.resolve(), *out.resolve().parents):
        raise OutputError(
            f"{out} lies in {volumes}, where a next run would take slices for cases; choose another --out"
        )
    cases = find_cases(volumes, labels=labels)
    tell_passed_over(cases.passed_over, volumes, "folders of cases", output)
    settings = slice_settings(plane, size, fit, tumor_labels, tumor_segment, isotropic_mm)
    if dry_run:
        output.table("Would slice", ("class", "cases"), cases.class_counts().items())
        output.result({"dry_run": True, "out": str(out), "cases": cases.class_counts()})
        return
    failures = cut_and_report(
        cases, settings, out, options.worker_count(workers), keep_going, output, file_format.value
    )
    output.result(
        {
            "out": str(out),
            "slices": len(cases.cases) - len(failures),
            "failures": [{"id": each.id, "message": each.message} for each in failures],
        }
    )
    raise_for_failures(len(failures), len(cases.cases))
