# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc trace --files``."""

from __future__ import annotations

from pathlib import Path

from monai_advenc.cli.console import Output
from monai_advenc.cli.trace.report import Asked, report


def trace_files(files: Path, originals: Path, size: int | None, gray: bool, asked: Asked) -> None:
    """Trace leaked images."""
    from monai_advenc.data.images.folder import find_images
    from monai_advenc.evaluation.tracing.leaked_images import Originals
    from monai_advenc.evaluation.tracing.trace_files import trace_files

    output = Output(asked.json)
    asked.require_free(table=True)
    recipients, stored = asked.recipients(), asked.stored()
    owned = Originals(find_images(originals), size, gray)
    report(trace_files(files, owned, recipients, stored, progress=output), asked, output)
