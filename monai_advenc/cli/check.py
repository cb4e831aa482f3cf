# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc check``: what the commands would make of a folder of volumes or images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.options import slicing
from monai_advenc.errors import IncompleteError


def check(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="Folder of volumes with masks, or of images, in class folders; or a MedMNIST file.")
    ],
    sheet: Annotated[
        Path,
        typer.Option(
            help="Page with a picture of each case; an earlier one of this folder is replaced. The page of a second "
            "folder is called contact-sheet-2.html.",
            dir_okay=False,
        ),
    ] = Path("contact-sheet.html"),
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Write no page.")] = False,
    plane: slicing.Plane = "acquired",
    size: slicing.Size = 320,
    fit: slicing.Fit = "pad-or-crop",
    tumor_labels: slicing.TumorLabels = None,
    tumor_segment: slicing.TumorSegment = None,
    isotropic_mm: slicing.IsotropicMm = None,
    assume_orientation: slicing.AssumeOrientation = None,
    labels: slicing.LabelTable = None,
    label_column: slicing.LabelColumn = None,
    channel: slicing.Channel = None,
    base: Annotated[
        Path | None,
        typer.Option(
            help="The base network that volumes are to be encrypted with.",
            show_default="trained on the slices",
            dir_okay=False,
        ),
    ] = None,
    workers: options.Workers = None,
    json: options.Json = False,
) -> None:
    """Check volumes or images before any work: open and cut every case, and list all that is wrong.

    Prints what it took the folder for (layout, classes, planes, spacings, values of the masks) and the command that
    follows, and draws each case with its tumor outlined. Exit status 2 if a case would be refused.
    """
    from monai_advenc.sharing.check import check

    output = Output(json)
    checked = check(
        folder,
        sheet=None if no_sheet else sheet,
        slices=slicing.slice_settings(
            tumor_labels,
            tumor_segment,
            context=context,
            plane=plane,
            size=size,
            fit=fit,
            isotropic_mm=isotropic_mm,
            assume_orientation=assume_orientation,
        ),
        labels=labels,
        channel=channel,
        label_column=label_column,
        base=base,
        workers=workers,
        progress=output,
    )
    output.result(checked.as_dict())
    problem = checked.found.problem()
    if problem is not None:
        raise IncompleteError(problem)
