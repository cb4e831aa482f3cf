# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc trace --files``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from monai_advenc.cli.console import Output
from monai_advenc.errors import OutputError

if TYPE_CHECKING:
    from monai_advenc.evaluation.tracing.result import Trace


def trace_files(
    files: Path,
    keys: Path,
    originals: Path,
    commitment: Path | None,
    out: Path,
    size: int | None,
    gray: bool,
    insecure_key_permissions: bool,
    json: bool,
) -> None:
    """Trace leaked images."""
    from monai_advenc.data.images.folder import find_images
    from monai_advenc.evaluation.tracing.commitment import load_commitment
    from monai_advenc.evaluation.tracing.leaked_images import Originals
    from monai_advenc.evaluation.tracing.recipients import load_recipients
    from monai_advenc.evaluation.tracing.trace_files import trace_files

    output = Output(json)
    if out.exists():  # Before minutes of work.
        raise OutputError(f"{out} exists already and is never overwritten; give another --out")
    recipients = load_recipients(keys, insecure_permissions=insecure_key_permissions)
    stored = None if commitment is None else load_commitment(commitment)
    owned = Originals(find_images(originals), size, gray)
    report(trace_files(files, owned, recipients, stored, progress=output), out, output)


def report(found: Trace, out: Path, output: Output) -> None:
    """Write the page about a trace and say what was found; never overwrite a page.

    Args:
        found: What tracing found.
        out: The page.
        output: The command's output.
    """
    from monai_advenc.data.private_folder import require_unshared
    from monai_advenc.evaluation.tracing.page import trace_page
    from monai_advenc.files.atomic import write_atomically

    require_unshared(out, "--out")
    # It accuses people, so it is not for everyone on this machine.
    write_atomically(out, trace_page(found).encode(), mode=0o600)
    output.say(f"{found.title}. {found.sentence}")
    output.say(found.standing.sentence)
    output.say(f"Wrote {out}, which also says what this cannot tell.")
    output.result({"out": str(out), **found.as_dict()})
