# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.options import choices
from monai_advenc.cli.options.tracking import NoTracking, TrackingUri, open_tracking


def reproduce(
    what: Annotated[
        str,
        typer.Argument(
            metavar="N",
            help="Number of the table in the paper: 1, 2, 3, 5, 7, 8, 9, 10 or 12; or figure-3, figure-4.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="CIFAR-10: the folder or archive as downloaded, or a tar of train/<class>/ and test/<class>/. For "
            "table 12: a folder of brain-tumor images in class folders, or with train/ and test/. Figures take either."
        ),
    ],
    preset: Annotated[
        choices.Preset,
        typer.Option(
            help="paper: its networks at full length, hours on a GPU; gpu-fast: the same in shorter training; cpu: "
            "small networks on a part of the images."
        ),
    ] = "cpu",
    out: Annotated[
        Path, typer.Option(help="Folder for results; tables in the same folder share networks.", file_okay=False)
    ] = Path("reproduction"),
    seeds: Annotated[
        str | None, typer.Option(help="Seeds, separated by commas.", show_default="0 (cpu) or 0,1,2")
    ] = None,
    workers: options.Workers = None,
    device: options.Device = None,
    tracking_uri: TrackingUri = None,
    no_tracking: NoTracking = False,
    json: options.Json = False,
) -> None:
    """Measure a table of the paper again and print our numbers next to the paper's, or draw a figure.

    The output folder keeps networks and encrypted sets for all tables; the same command resumes an interrupted run.
    """
    from monai_advenc.experiments.paper.reproduce import parse_what, reproduce

    output = Output(json)
    name = f"table-{parse_what(what)[1]:02d}"
    chosen = None if seeds is None else options.whole_numbers(seeds, "seeds as whole numbers")
    with open_tracking(tracking_uri, no_tracking, name, out) as tracker:
        found = reproduce(
            what, data, preset, out, seeds=chosen, workers=workers, device=device, progress=output, tracker=tracker
        )
    if found.markdown is None:
        output.say(f"Wrote {found.path}.")
        output.result({"figure": found.number, "png": str(found.path)})
        return
    output.say(found.markdown)
    output.result({"table": found.number, "markdown": str(found.path)})
