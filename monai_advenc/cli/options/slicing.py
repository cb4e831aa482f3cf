# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Options for the folder of volumes and how to cut them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli.options import choices, whole_numbers

if TYPE_CHECKING:
    from monai_advenc.data.volumes.cross_section import SliceSettings
    from monai_advenc.data.volumes.slice_volumes import Cuts

_PANEL = "Slicing"

Volumes = Annotated[
    Path,
    typer.Argument(
        help="Folder of cases: <class>/<case>/ with image.nii.gz and seg.nii.gz, or with a DICOM series and its SEG or "
        "RTSTRUCT; cases.csv; nnU-Net, BIDS, BraTS, or a folder for each case with labels.csv.",
        file_okay=False,
    ),
]
Plane = Annotated[
    choices.PlaneChoice,
    typer.Option(
        help="Direction of the slices. acquired: that of the DICOM series; NIfTI: across the axis with the coarsest "
        "spacing, axial if the spacings agree within 20 %.",
        rich_help_panel=_PANEL,
    ),
]
Size = Annotated[
    int, typer.Option(min=0, help="Side of the slices in pixels; 0 keeps the volume's grid.", rich_help_panel=_PANEL)
]
Fit = Annotated[choices.Fit, typer.Option(help="How to bring slices to that size.", rich_help_panel=_PANEL)]
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
AssumeOrientation = Annotated[
    str | None,
    typer.Option(
        help="Where the voxel axes point in files that do not say it (NIfTI with both codes 0, Analyze, MGH): three "
        "letters, such as RAS for right, anterior, superior. Image and mask.",
        show_default="refuse such files",
        rich_help_panel=_PANEL,
    ),
]
LabelTable = Annotated[
    Path | None,
    typer.Option(
        "--labels", help="Table (case,label) of the classes.", show_default="labels.csv", rich_help_panel=_PANEL
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the class in labels.csv, or in participants.tsv of BIDS.",
        show_default="label, or the only one that may be it",
        rich_help_panel=_PANEL,
    ),
]
Channel = Annotated[
    str | None,
    typer.Option(
        help="Which image of a case to take: number or name of an nnU-Net channel, kind of a BIDS image (T1w), "
        "modality in a BraTS name, or end of a file name.",
        show_default="the only one",
        rich_help_panel=_PANEL,
    ),
]


def slice_settings(
    tumor_labels: str | None = None, tumor_segment: list[str] | None = None, **settings: Any
) -> SliceSettings:
    """The settings of the options; 0 stands for the volume's own."""
    from monai_advenc.data.volumes.cross_section import SliceSettings

    labels = None if tumor_labels is None else whole_numbers(tumor_labels, "whole numbers")
    given: dict[str, Any] = {name: value or None for name, value in settings.items()}
    return SliceSettings(labels=labels, segments=tuple(tumor_segment) if tumor_segment else None, **given)


def summary_of(cuts: Cuts | None) -> dict[str, Any]:
    """What to say to machines about cuts: cases by plane, and the share of each cropped tumor that is kept."""
    if cuts is None:
        return {}
    return {"planes": dict(cuts.planes), "cropped": {case: round(kept, 4) for case, kept in cuts.cropped.items()}}
