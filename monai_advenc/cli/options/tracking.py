# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Options for experiment tracking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monai_advenc.progress import NO_TRACKING, Tracker, Value

if TYPE_CHECKING:
    from monai_advenc.encryption.key import EncryptionKey

_PANEL = "Tracking (MLflow)"

TrackingUri = Annotated[
    str | None,
    typer.Option(help="MLflow server or store.", show_default="mlruns.db next to the output", rich_help_panel=_PANEL),
]
NoTracking = Annotated[bool, typer.Option("--no-tracking", help="Track nothing.", rich_help_panel=_PANEL)]


@contextmanager
def open_tracking(
    uri: str | None, off: bool, run_name: str, folder: Path, keys: Sequence[EncryptionKey] = ()
) -> Iterator[Tracker]:
    """Open the tracker of the options; it rejects the secrets of ``keys``."""
    if off:
        yield NO_TRACKING
        return
    with ExitStack() as stack:

        def start() -> Tracker:
            from monai_advenc.experiments.tracking import track

            return stack.enter_context(track(uri, run_name, folder, keys=keys))

        yield _OpenedWhenUsed(start)


class _OpenedWhenUsed:
    """Starts the run with the first value to log, so that a rejected call leaves no store behind."""

    def __init__(self, start: Callable[[], Tracker]) -> None:
        self._tracker = cache(start)

    def log_params(self, params: Mapping[str, Value]) -> None:
        self._tracker().log_params(params)

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        self._tracker().log_metrics(metrics, step=step)

    def log_file(self, path: Path) -> None:
        self._tracker().log_file(path)

    def child(self, run_name: str) -> AbstractContextManager[Tracker]:
        return self._tracker().child(run_name)
