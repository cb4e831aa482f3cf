# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What commands print: lines and tables for people, one JSON object for machines, progress for both on stderr."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from monai_advenc.errors import EXIT_BAD_INPUT

EXIT_READER_LEFT = 1

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def print_error(message: str) -> None:
    """One line on stderr, whatever the message holds; never wrapped, so that it can be searched."""
    errors.print(f"[bold red]error:[/bold red] {escape(' '.join(message.split()))}", soft_wrap=True)


class _Stdout(io.TextIOWrapper):
    """Stdout that remembers why it took no more: where nothing is buffered, it could not be asked afterwards."""

    problem: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self.problem = error
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.problem = error
            raise


@contextmanager
def stdout_that_may_refuse() -> Iterator[None]:
    """End the process in one line with status 2 where stdout takes no more, and quietly where its reader has left.

    Names of files that are no text are printed as escapes. A stdout closed from the start is ignored by Python.
    """
    given = sys.stdout
    if not isinstance(given, io.TextIOWrapper):
        yield
        return
    stdout = sys.stdout = _Stdout(
        given.buffer,
        given.encoding,
        errors="backslashreplace",
        line_buffering=given.line_buffering,
        write_through=given.write_through,
    )
    try:
        yield
    finally:
        with suppress(OSError):
            stdout.flush()
        if stdout.problem is not None:
            _end_without_stdout(stdout.problem)


def _end_without_stdout(problem: OSError) -> NoReturn:
    # Python would try to print what is left once more when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if problem.errno == errno.EPIPE:
        sys.exit(EXIT_READER_LEFT)
    print_error(f"cannot print to stdout ({problem.strerror}); what was written to files stays, send stdout elsewhere")
    sys.exit(EXIT_BAD_INPUT)


class Output:
    """Where a command's results go.

    Args:
        as_json: One JSON object on stdout at the end, and nothing else there.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, line: str) -> None:
        """A line for people."""
        (errors if self.as_json else console).print(escape(line), soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table for people."""
        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*(escape(str(cell)) for cell in row))
        (errors if self.as_json else console).print(table)

    def result(self, values: dict[str, Any]) -> None:
        """The result for machines."""
        if self.as_json:
            print(json.dumps(values, ensure_ascii=False))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "")


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar with rate and time left, on stderr; yields a function that takes the number of things done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors) as bar:
        task = bar.add_task(description, total=total)
        try:
            yield lambda done: bar.advance(task, done)
        except BaseException:
            # Where stderr is a file, the bar is only written now, and would come before the line that says what failed.
            bar.update(task, visible=errors.is_terminal)
            raise
