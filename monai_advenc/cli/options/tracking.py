# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Where commands track their runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.progress import Tracker

_PANEL = "Tracking (MLflow)"

TrackingUri = Annotated[
    str | None,
    typer.Option(help="MLflow server or store.", show_default="mlruns.db beside the output", rich_help_panel=_PANEL),
]
NoTracking = Annotated[bool, typer.Option("--no-tracking", help="Track nothing.", rich_help_panel=_PANEL)]


@contextmanager
def open_tracking(
    uri: str | None, off: bool, run_name: str, folder: Path, keys: Sequence[EncryptionKey] = ()
) -> Iterator[Tracker]:
    """The tracker that the options ask for; it refuses the secrets of ``keys``."""
    from monai_advenc.experiments.tracking import track
    from monai_advenc.progress import NO_TRACKING

    if off:
        yield NO_TRACKING
        return
    with track(uri, run_name, folder, keys=keys) as tracker:
        yield tracker
