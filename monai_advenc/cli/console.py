# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Output of commands: lines and tables for people, one JSON object for machines, progress on stderr."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape

from monai_advenc.errors import EXIT_BAD_INPUT, one_line, without_commands
from monai_advenc.progress import ConsoleProgress

EXIT_READER_LEFT = 1

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def print_error(message: str) -> None:
    """Print an error as one line on stderr; never wrapped, so that it can be searched."""
    errors.print(f"[bold red]error:[/bold red] {escape(one_line(message))}", soft_wrap=True)


class _Stdout(io.TextIOWrapper):
    """Stdout that keeps the error of a failed write: an unbuffered stdout would not report it again."""

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
    """End the process with one line and status 2 if stdout cannot be written, and silently if its reader has closed it.

    File names that are not valid text are printed with escapes. Python itself ignores a stdout closed from the start.
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
    # Python would try to print the rest again when it exits.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if problem.errno == errno.EPIPE:
        sys.exit(EXIT_READER_LEFT)
    print_error(f"cannot print to stdout ({problem.strerror}); written files are kept, send stdout elsewhere")
    sys.exit(EXIT_BAD_INPUT)


class Output(ConsoleProgress):
    """Print a command's messages and results.

    Args:
        as_json: Whether to print only one JSON object on stdout, at the end.
    """

    def __init__(self, as_json: bool) -> None:
        super().__init__(errors if as_json else console)
        self.as_json = as_json

    def result(self, values: dict[str, Any]) -> None:
        """Print the result for machines, with ``--json``."""
        if self.as_json:
            print(without_commands(json.dumps(values, ensure_ascii=False)))
