# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc trace queries``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from monai_advenc.cli.console import Output
from monai_advenc.cli.options import Device, Gray, InsecureKeyPermissions, Json
from monai_advenc.cli.trace import options

MOST_UNNAMED: Final = 5
"""Up to so many classes there are too few readable keys for a p value below the level (docs/how_to/trace.md)."""


def queries(
    unshared: options.UnsharedArgument,
    keys: options.Keys,
    base: options.Base,
    out: Annotated[Path, typer.Option(help="New folder for the images and answers.csv.", file_okay=False)] = Path(
        "queries"
    ),
    private: Annotated[
        Path | None,
        typer.Option(
            help="Folder for probes.json, which says what each image is.",
            show_default="<out>-private",
            file_okay=False,
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Number of images to ask about.")] = 1000,
    strength: Annotated[float, typer.Option(min=0.1, help="Radius of their perturbation, in radii of the keys.")] = 2.0,
    file_format: Annotated[Literal["png16", "png8"], typer.Option("--format", help="Depth of the images.")] = "png16",
    gray: Gray = False,
    device: Device = None,
    insecure_key_permissions: InsecureKeyPermissions = False,
    json: Json = False,
) -> None:
    """Write images to ask a model about that somebody else runs, and a table to fill in with its answers.

    The images are the same for all recipients. Nothing in the folder says what an image shows, which class it was
    perturbed toward, or anything of a key. Score the filled table with trace score.
    """
    from monai_advenc.data.private_folder import make_private, private_folder_of, require_apart, require_unshared
    from monai_advenc.evaluation.tracing.models import probes_for
    from monai_advenc.evaluation.tracing.queries import ANSWER_TABLE, PROBE_TABLE, require_new, write_queries
    from monai_advenc.evaluation.tracing.recipients import load_recipients

    output = Output(json)
    apart = private or private_folder_of(out)
    require_apart(out, apart)
    require_unshared(out, "--out")
    require_unshared(apart, "--private")
    require_new(out, apart)
    recipients = load_recipients(keys, insecure_permissions=insecure_key_permissions)
    probes = probes_for(
        recipients, base, unshared, count=count, strength=strength, gray=gray, device=device, progress=output
    )
    if len(recipients[0].key.classes) <= MOST_UNNAMED:
        output.say(
            f"Warning: with {MOST_UNNAMED} classes or fewer no recipient can be named, whatever the model answers; "
            "trace score then says only which keys the answers are consistent with."
        )
    make_private(apart)
    with output.stage("writing queries", len(probes)) as advance:
        write_queries(probes, out, apart, file_format=file_format, progress=advance)
    output.say(f"Wrote {len(probes)} images and {ANSWER_TABLE} into {out}. Fill in the class that the model answers.")
    output.say(f"In these words: {', '.join(recipients[0].key.classes)}.")
    output.say(f"Wrote {apart / PROBE_TABLE}. Keep it: trace score needs it.")
    output.result({"out": str(out), "probes": str(apart / PROBE_TABLE), "images": len(probes)})
