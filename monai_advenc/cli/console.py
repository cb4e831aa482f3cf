# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What commands print: lines and tables for people, one JSON object for machines, progress for both on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

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

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def print_error(message: str) -> None:
    """One line on stderr, whatever the message holds; never wrapped, so that it can be searched."""
    errors.print(f"[bold red]error:[/bold red] {escape(' '.join(message.split()))}", soft_wrap=True)


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
        yield lambda done: bar.advance(task, done)
