# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What long work tells its caller: lines, tables, how far it is, and numbers for a tracker of experiments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[int], None]
"""Takes the number of things that were done since the last call."""

Value = str | int | float | bool | None
"""What a tracker keeps: plain numbers and names."""


class Progress(Protocol):
    """Where a function that works for minutes says what it does."""

    def say(self, line: str) -> None:
        """Take a line for people."""

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Take a table for people."""

    def stage(self, what: str, total: int | None) -> AbstractContextManager[Advance]:
        """Open a stage of ``total`` things (``None``: unknown); yields what is called as they are done."""


class _Silent:
    def say(self, line: str) -> None:
        pass

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        pass

    def stage(self, what: str, total: int | None) -> AbstractContextManager[Advance]:
        return nullcontext(lambda _: None)


SILENT: Progress = _Silent()
"""Takes everything and shows nothing."""


class ConsoleProgress:
    """Lines, tables and bars with rate and time left, on stderr.

    Args:
        lines: Where lines and tables go instead.
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
                # Where stderr is a file, the bar is only written now, and would come before the line that says what
                # failed.
                bar.update(task, visible=self._bars.is_terminal)
                raise


class Tracker(Protocol):
    """What keeps the numbers of an experiment; see :mod:`monai_advenc.experiments.tracking` for MLflow."""

    def log_params(self, params: Mapping[str, Value]) -> None:
        """Note settings, once a run."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Note measurements."""

    def log_file(self, path: Path) -> None:
        """Keep a copy of a file."""

    def child(self, run_name: str) -> AbstractContextManager[Tracker]:
        """Open a run of its own below this one."""


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
"""Takes everything and keeps nothing."""
