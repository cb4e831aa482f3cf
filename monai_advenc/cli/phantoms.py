# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc phantoms``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.options import choices


def phantoms(
    out: Annotated[Path, typer.Argument(help="Folder for the volumes.", file_okay=False)],
    count: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of volumes of each class; a base network and a verdict take 20 or more of each.",
        ),
    ] = 60,
    classes: Annotated[int, typer.Option(min=2, max=5, help="Number of classes.")] = 5,
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

    The files are <class>/<case>/image.nii.gz and seg.nii.gz, a layout that slice and slice-and-encrypt read. Slices of
    them have 64x64 pixels; the command that is printed cuts them at that size.
    """
    from monai_advenc.data.phantoms.volume import DIFFICULTIES, PHANTOM_CLASSES, PHANTOM_SHAPE, write_phantoms
    from monai_advenc.networks.training.base import MIN_IMAGES_PER_CLASS

    output = Output(json)
    names, total = sorted(PHANTOM_CLASSES[:classes]), count * classes
    with output.stage("phantom volumes", total) as advance:
        write_phantoms(
            out,
            count,
            seed,
            difficulty=DIFFICULTIES[difficulty],
            classes=classes,
            progress=lambda _done, _total: advance(1),
        )
    output.say(f"Wrote {total} volumes of {', '.join(names)} into {out}.")
    others = [name for name in sorted(PHANTOM_CLASSES) if name not in names and (out / name).is_dir()]
    if others:
        output.say(f"{out} holds {', '.join(others)} of an earlier run too, which commands read as well.")
    if count < MIN_IMAGES_PER_CLASS:
        output.say(
            f"A base network and a verdict take {MIN_IMAGES_PER_CLASS} of each class or more, these are {count}: the "
            f"same command with --count {MIN_IMAGES_PER_CLASS} adds the others, or put the file of a base network that "
            "was trained on more of these classes for FILE."
        )
    words = ["monai-advenc", "slice-and-encrypt", str(out), "--size", str(max(PHANTOM_SHAPE[:2])), "--out", "shared"]
    words += ["--base", "FILE"] if count < MIN_IMAGES_PER_CLASS else []
    output.say(f"Next: {shlex.join(words)}")
    output.result({"out": str(out), "volumes": total, "classes": names})
