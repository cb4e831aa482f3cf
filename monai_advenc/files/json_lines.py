# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Append-only files of JSON lines; a last line truncated by a kill is skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from monai_advenc.errors import OutputError

_TAIL = 1 << 16
"""Size of the blocks in the search for the end of the last line, in bytes."""


def append_lines(path: Path, lines: Sequence[str], *, wait_for_disk: bool = True) -> None:
    """Append lines to a file; first remove a truncated line at its end.

    Args:
        path: The file; it and its folder are created if missing.
        lines: Lines without line ends.
        wait_for_disk: Whether to return only when the lines survive a power failure.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.truncate(_end_of_lines(file))
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            if wait_for_disk:
                os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; free disk space or choose another place") from None


def _end_of_lines(file: BinaryIO) -> int:
    """End of the last whole line. Searched from the end, because files grow long and every append needs it."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        begin = max(0, end - _TAIL)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def each_line(path: Path) -> Iterator[str]:
    """Yield the whole lines of a file; nothing if there is no file.

    Raises:
        OutputError: The file cannot be read.
        ValueError: The file is not UTF-8.
    """
    try:
        if not path.exists():
            return
        # As bytes, which split only at line feeds: names may hold other characters that end a line in Unicode.
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1].decode("utf-8")
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}; check its permissions") from None


def read_lines(path: Path) -> list[str]:
    """Read the whole lines of a file into a list; see :func:`each_line`."""
    return list(each_line(path))
