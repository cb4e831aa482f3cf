# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Report the progress of long work: lines, tables, bars, and numbers for an experiment tracker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[int], None]
"""Receives the number of items done since the last call."""

Value = str | int | float | bool | None
"""A value that a tracker keeps: a plain number or name."""


class Progress(Protocol):
    """Receives the messages and progress of a function that runs for minutes."""

    def say(self, line: str) -> None:
        """Receive a line of text."""

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Receive a table."""

    def stage(self, what: str, total: int | None) -> AbstractContextManager[Advance]:
        """Open a stage of ``total`` items (``None``: unknown); yields a function to call with the number done."""


class _Silent:
    def say(self, line: str) -> None:
        pass

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        pass

    def stage(self, what: str, total: int | None) -> AbstractContextManager[Advance]:
        return nullcontext(lambda _: None)


SILENT: Progress = _Silent()
"""Shows nothing."""


class ConsoleProgress:
    """Print lines, tables and bars with rate and remaining time to stderr.

    Args:
        lines: Console for lines and tables; ``None``: stderr.
    """

    def __init__(self, lines: Console | None = None) -> None:
        from rich.console import Console

        self._bars = Console(stderr=True, highlight=False)
        self._lines = self._bars if lines is None else lines

    def say(self, line: str) -> None:
        """Print a line, never wrapped."""
        from rich.markup import escape

        self._lines.print(escape(line), soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table."""
        from rich.markup import escape
        from rich.table import Table

        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*(escape(str(cell)) for cell in row))
        self._lines.print(table)

    @contextmanager
    def stage(self, what: str, total: int | None) -> Iterator[Advance]:
        """Show a bar while the stage lasts."""
        from rich import progress

        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*columns, console=self._bars) as bar:
            task = bar.add_task(what, total=total, rate="")

            def advance(done: int) -> None:
                bar.advance(task, done)
                speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
                bar.update(task, rate=f"{speed:.1f}/s" if speed else "")

            try:
                yield advance
            except BaseException:
                # If stderr is a file, the bar is only written now, and would come before the error message.
                bar.update(task, visible=self._bars.is_terminal)
                raise


def saying_what_was_done(advance: Advance, progress: Progress, total: int) -> Advance:
    """An ``advance`` whose first call, with what earlier runs did, is said too."""
    is_first = True

    def told(done: int) -> None:
        nonlocal is_first
        if is_first and done:
            progress.say(f"Resuming: {done} of {total} are already done.")
        is_first = False
        advance(done)

    return told


class Tracker(Protocol):
    """Keeps the numbers of an experiment; see :mod:`monai_advenc.experiments.tracking` for MLflow."""

    def log_params(self, params: Mapping[str, Value]) -> None:
        """Log settings, once per run."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log measurements."""

    def log_file(self, path: Path) -> None:
        """Keep a copy of a file."""

    def child(self, run_name: str) -> AbstractContextManager[Tracker]:
        """Open a child run of this run."""


class _NoTracker:
    def log_params(self, params: Mapping[str, Value]) -> None:
        pass

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        pass

    def log_file(self, path: Path) -> None:
        pass

    def child(self, run_name: str) -> AbstractContextManager[Tracker]:
        return nullcontext(self)


NO_TRACKING: Tracker = _NoTracker()
"""Keeps nothing."""
