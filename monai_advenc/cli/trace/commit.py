# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc trace commit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli.console import Output
from monai_advenc.cli.options import InsecureKeyPermissions, Json
from monai_advenc.cli.trace import options
from monai_advenc.errors import AdvencError


def commit(
    keys: options.KeysArgument,
    out: Annotated[Path, typer.Option(help="The commitment; must not exist.", dir_okay=False)] = Path(
        "commitment.json"
    ),
    level: Annotated[float, typer.Option(min=0, max=1, help="Highest probability of accusing anyone innocent.")] = 1e-3,
    decoys: Annotated[
        int | None,
        typer.Option(min=1, help="Number of decoy keys.", show_default="100000, or more for over 21 recipients"),
    ] = None,
    timestamp: Annotated[
        str | None,
        typer.Option(
            help="Address of a timestamp authority (RFC 3161), which gets the SHA-256.", show_default="none asked"
        ),
    ] = None,
    insecure_key_permissions: InsecureKeyPermissions = False,
    json: Json = False,
) -> None:
    """Fix keys, decoys and statistics before you share, so that nobody can say they were chosen to fit a suspect.

    The commitment holds no secret. Publish its SHA-256, or have it timestamped, before the first copy leaves.
    """
    from monai_advenc.evaluation.tracing.commitment import commit
    from monai_advenc.evaluation.tracing.recipients import load_recipients
    from monai_advenc.evaluation.tracing.timestamp import fetch_timestamp

    output = Output(json)
    recipients = load_recipients(keys, insecure_permissions=insecure_key_permissions)
    stored = commit(recipients, out, level=level, decoys=decoys)
    if unmarked := [each.label for each in recipients if each.key.mark is None]:
        output.say(
            f"Warning: the keys of {', '.join(unmarked)} have no mark, so files of their copies cannot be traced, only "
            "models; draw keys with keygen --recipient."
        )
    stamped = None
    if timestamp is None:
        output.say(f"Wrote {out} for {len(recipients)} recipient(s). Keep it unchanged.")
        output.say(f"Publish its SHA-256 before you share, where others can see the date: {stored.sha256}")
    else:
        try:
            stamped = fetch_timestamp(out, timestamp)
        except AdvencError:
            out.unlink()  # Nobody has seen it, and the same command must work once the authority answers.
            raise
        output.say(f"Wrote {out} for {len(recipients)} recipient(s), and {stamped}, the timestamp of {timestamp}.")
        output.say("Keep both unchanged and side by side.")
    output.result(
        {
            "commitment": str(out),
            "sha256": stored.sha256,
            "timestamp": None if stamped is None else str(stamped),
            "recipients": [each.label for each in recipients],
        }
    )
