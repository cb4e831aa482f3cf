# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Report the progress of long work: lines, tables, bars, and numbers for an experiment tracker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from monai_advenc.errors import without_commands

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[int], None]
"""Receives the number of items done since the last call."""

Value = str | int | float | bool | None
"""A value that a tracker keeps: a plain number or name."""


INTERVAL_S: Final = 30.0
"""Seconds between two lines of a stage in a log."""


def _plain(text: str) -> str:
    """The text without commands for terminals or for rich."""
    from rich.markup import escape

    return escape(without_commands(text))


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
    """Print lines, tables and the progress of stages, with rate and remaining time, to stderr.

    Args:
        lines: Console for lines and tables; ``None``: stderr.
        interval: Seconds between the lines of a stage where stderr is no terminal.
    """

    def __init__(self, lines: Console | None = None, *, interval: float = INTERVAL_S) -> None:
        from rich.console import Console

        self._interval = interval
        self._bars = Console(stderr=True, highlight=False)
        self._lines = self._bars if lines is None else lines

    def say(self, line: str) -> None:
        """Print a line, never wrapped."""
        self._lines.print(_plain(line), soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table."""
        from rich.table import Column, Table

        # Rich would cut a long word, such as a path.
        table = Table(*(Column(each, overflow="fold") for each in columns), title=title, title_justify="left")
        for row in rows:
            table.add_row(*(_plain(str(cell)) for cell in row))
        self._lines.print(table)

    @contextmanager
    def stage(self, what: str, total: int | None) -> Iterator[Advance]:
        """Show a bar while the stage lasts; where stderr is no terminal, a line every 30 seconds and at the end."""
        if self._bars.is_terminal or self._bars.is_jupyter:
            with self._bar(what, total) as advance:
                yield advance
            return
        count = Count(total)
        with _every(self._interval, lambda: self._bars.print(_plain(f"{what}: {count.line()}"), soft_wrap=True)):
            yield count
        self._bars.print(_plain(f"{what}: {count.line(is_over=True)}"), soft_wrap=True)

    @contextmanager
    def _bar(self, what: str, total: int | None) -> Iterator[Advance]:
        from rich import progress

        text = progress.TextColumn
        first = text("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn()
        last = text("{task.fields[rate]}"), progress.TimeElapsedColumn(), text("{task.fields[left]}")
        count = Count(total)
        with progress.Progress(*first, *last, console=self._bars) as bar:
            task = bar.add_task(_plain(what), total=total, rate="", left="")
            count.shown = lambda: bar.update(task, completed=count.done, rate=count.rate_text(), left=count.left_text())
            with _every(min(1.0, self._interval), count.shown):
                yield count


class Count:
    """What is done of a stage, its rate, and the time left; called with the number of items done since the last call.

    Args:
        total: Number of items; ``None``: unknown.
        clock: Seconds that pass.

    Attributes:
        done: Number of items done, those of earlier runs included.
        shown: Called after each change.
    """

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.done, self._earlier, self._clock = total, 0, 0, clock
        self.shown: Callable[[], None] = lambda: None
        self._start = self._last = clock()

    def __call__(self, done: int) -> None:
        """Count items that this run did."""
        self.done += done
        self._last = self._clock()
        self.shown()

    def pass_over(self, done: int) -> None:
        """Count items that an earlier run did: they took no time, so they are no part of the rate."""
        self._earlier += done
        self(done)

    @property
    def rate(self) -> float | None:
        """Items a second of this run; ``None`` before the first. While the next is overdue, as if it were done now."""
        own, now = self.done - self._earlier, self._clock()
        if own <= 0 or self._last <= self._start:
            return None
        rate = own / (self._last - self._start)
        return rate if self.done == self.total else min(rate, (own + 1) / (now - self._start))

    @property
    def left(self) -> float | None:
        """Seconds until the end at this rate; ``None`` if unknown."""
        if self.rate is None or self.total is None:
            return None
        missing, waited = self.total - self.done, self._clock() - self._last
        return max(0.0, missing / self.rate - waited, (missing - 1) / self.rate)

    def rate_text(self) -> str:
        """The rate a second, or a minute or an hour where that is less than one."""
        if self.rate is None:
            return ""
        seconds, unit = next((pair for pair in _UNITS if self.rate * pair[0] >= 1), _UNITS[-1])
        return f"{self.rate * seconds:.1f}/{unit}"

    def left_text(self) -> str:
        """The time left."""
        return "" if self.left is None else f"{_clock_text(self.left)} left"

    def line(self, *, is_over: bool = False) -> str:
        """The count, the rate and the time left, or, at the end, the time taken."""
        of = "" if self.total is None else f" of {self.total}"
        taken = _clock_text(self._clock() - self._start)
        time_text = f"in {taken}" if is_over else self.left_text() or f"{taken} so far"
        return ", ".join(part for part in (f"{self.done}{of}", self.rate_text(), time_text) if part)


_UNITS = ((1, "s"), (60, "min"), (3600, "h"))


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


@contextmanager
def _every(seconds: float, report: Callable[[], None]) -> Iterator[None]:
    """Call ``report`` every so many seconds, however long an item takes."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            report()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def pass_over(advance: Advance, done: int) -> None:
    """Count what an earlier run did of a stage, so that it is no part of the rate."""
    getattr(advance, "pass_over", advance)(done)


def saying_what_was_done(advance: Advance, progress: Progress, total: int) -> Advance:
    """An ``advance`` whose first call, with what earlier runs did, is said too."""
    is_first = True

    def told(done: int) -> None:
        nonlocal is_first
        if is_first and done:
            progress.say(f"Resuming: {done} of {total} are already done.")
        if is_first:
            pass_over(advance, done)
        else:
            advance(done)
        is_first = False

    return told


def advancing_to(advance: Advance) -> Advance:
    """A function that receives how many items are done in all; those before the first it hears of are earlier ones."""
    heard = 0

    def advance_to(done: int) -> None:
        nonlocal heard
        if not heard:
            pass_over(advance, done - 1)
            heard = done - 1
        advance(done - heard)
        heard = done

    return advance_to


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
