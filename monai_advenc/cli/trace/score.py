# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc trace score``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.trace.files import report


def score(
    answers: Annotated[
        Path, typer.Argument(help="The filled table (image,label) with the model's answers.", dir_okay=False)
    ],
    probes: Annotated[Path, typer.Option(help="The private probes.json that trace queries wrote.", dir_okay=False)],
    keys: Annotated[Path, typer.Option(help="Folder with the key of each recipient (*.json).", file_okay=False)],
    commitment: Annotated[
        Path | None,
        typer.Option(help="The file of trace commit; without it the result is no evidence.", dir_okay=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="The report, one HTML page.", dir_okay=False)] = Path("trace.html"),
    insecure_key_permissions: options.InsecureKeyPermissions = False,
    json: options.Json = False,
) -> None:
    """Say whose copy a model learned from, by its answers to the images of trace queries.

    Labels are class names. Images without a label count as not asked.
    """
    from monai_advenc.evaluation.tracing.commitment import load_commitment
    from monai_advenc.evaluation.tracing.queries import read_answers
    from monai_advenc.evaluation.tracing.recipients import load_recipients
    from monai_advenc.evaluation.tracing.trace_model import trace_model

    output = Output(json)
    recipients = load_recipients(keys, insecure_permissions=insecure_key_permissions)
    stored = None if commitment is None else load_commitment(commitment)
    report(trace_model(read_answers(probes, answers), recipients, stored), out, output)
