# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc phantoms``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.options import choices


def phantoms(
    out: Annotated[Path, typer.Argument(help="Folder for the volumes.", file_okay=False)],
    count: Annotated[int, typer.Option(min=1, help="Number of volumes of each of the five classes.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the volumes; use another one for test volumes.")] = 0,
    difficulty: Annotated[
        choices.PhantomDifficulty,
        typer.Option(
            help="clear: a small network learns the classes from tens of cases; demo: it takes hundreds, and "
            "encryption shows more of its effect."
        ),
    ] = "clear",
    json: options.Json = False,
) -> None:
    """Write phantom brain volumes with tumors and masks, to try the other commands on.

    The files are <class>/<case>/image.nii.gz and seg.nii.gz, a layout that slice and slice-and-encrypt read.
    """
    from monai_advenc.data.phantoms.volume import DIFFICULTIES, PHANTOM_CLASSES, write_phantoms

    output = Output(json)
    total = count * len(PHANTOM_CLASSES)
    with output.stage("phantom volumes", total) as advance:
        write_phantoms(out, count, seed, difficulty=DIFFICULTIES[difficulty], progress=lambda _done, _total: advance(1))
    output.say(f"Wrote {total} volumes of {', '.join(sorted(PHANTOM_CLASSES))} into {out}.")
    output.result({"out": str(out), "volumes": total, "classes": sorted(PHANTOM_CLASSES)})
