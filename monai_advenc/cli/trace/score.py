# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc trace score``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli.console import Output
from monai_advenc.cli.options import InsecureKeyPermissions, Json
from monai_advenc.cli.trace import options
from monai_advenc.cli.trace.report import Asked, report


def score(
    answers: Annotated[
        Path, typer.Argument(help="The filled table (image,label) with the model's answers.", dir_okay=False)
    ],
    probes: Annotated[Path, typer.Option(help="The private probes.json that trace queries wrote.", dir_okay=False)],
    keys: options.Keys,
    commitment: options.Commitment = None,
    out: options.Report = options.REPORT,
    insecure_key_permissions: InsecureKeyPermissions = False,
    json: Json = False,
) -> None:
    """Say whose copy a model learned from, by its answers to the images of trace queries.

    Labels are class names. Images without a label count as not asked.
    """
    from monai_advenc.evaluation.tracing.queries import read_answers
    from monai_advenc.evaluation.tracing.trace_model import trace_model

    asked = Asked(
        keys=keys, commitment=commitment, out=out, insecure_key_permissions=insecure_key_permissions, json=json
    )
    output = Output(json)
    asked.require_free()
    found = trace_model(read_answers(probes, answers), asked.recipients(), asked.stored())
    report(found, asked, output)
