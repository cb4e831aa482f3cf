# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Options for the folder of volumes and how to cut them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli.options import choices, whole_numbers
from monai_advenc.cli.options.key import is_named

if TYPE_CHECKING:
    from monai_advenc.data.volumes.cross_section import SliceSettings
    from monai_advenc.data.volumes.slice_volumes import Cuts

_PANEL = "Slicing"

Volumes = Annotated[
    Path,
    typer.Argument(
        help="<class>/<case>/ with image.nii.gz and seg.nii.gz, or DICOM with SEG or RTSTRUCT; cases.csv; nnU-Net; "
        "BIDS; BraTS; or cases with labels.csv.",
        file_okay=False,
    ),
]
Plane = Annotated[
    choices.PlaneChoice,
    typer.Option(
        help="Direction of the slices; acquired: as they were taken.",
        rich_help_panel=_PANEL,
    ),
]
Size = Annotated[
    int, typer.Option(min=0, help="Side of slices in pixels; 0: as in the volume.", rich_help_panel=_PANEL)
]
Fit = Annotated[choices.Fit, typer.Option(help="How they get it.", rich_help_panel=_PANEL)]
TumorLabels = Annotated[
    str | None,
    typer.Option(
        help="Mask values or segment numbers of the tumor, as 1,2.",
        show_default="all but 0",
        rich_help_panel=_PANEL,
    ),
]
TumorSegment = Annotated[
    list[str] | None,
    typer.Option(
        help="Segment or ROI of the tumor, such as 'GTV*'; repeatable.",
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
        help="Axes of files that do not say it, as RAS.",
        show_default="refused",
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
        help="Column of the class in that table.",
        show_default="label",
        rich_help_panel=_PANEL,
    ),
]
Channel = Annotated[
    str | None,
    typer.Option(
        help="Image of a case with several: number, name, or end of its file name.",
        show_default="the only one",
        rich_help_panel=_PANEL,
    ),
]


def slice_settings(
    tumor_labels: str | None = None,
    tumor_segment: list[str] | None = None,
    *,
    context: typer.Context | None = None,
    **settings: Any,
) -> SliceSettings:
    """The settings of the options; 0 stands for the volume's own. With a context those that were given count as set."""
    from monai_advenc.data.volumes.cross_section import SliceSettings

    labels = None if tumor_labels is None else whole_numbers(tumor_labels, "whole numbers")
    given: dict[str, Any] = {
        name: value or None for name, value in settings.items() if context is None or is_named(context, name)
    }
    return SliceSettings(labels=labels, segments=tuple(tumor_segment) if tumor_segment else None, **given)


def summary_of(cuts: Cuts | None) -> dict[str, Any]:
    """What to say to machines about cuts: cases by plane, and the share of each cropped tumor that is kept."""
    if cuts is None:
        return {}
    return {"planes": dict(cuts.planes), "cropped": {case: round(kept, 4) for case, kept in cuts.cropped.items()}}
