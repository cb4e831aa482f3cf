# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of JSON lines that are only added to: a line cut short by a kill is noticed and left out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from monai_advenc.errors import OutputError

_TAIL = 1 << 16
"""Bytes to look at together for the end of the last line."""


def append_lines(path: Path, lines: Sequence[str], *, wait_for_disk: bool = True) -> None:
    """Add lines to a file; half a line at its end is cut off first.

    Args:
        path: The file; it and its folder are made if missing.
        lines: Without line ends.
        wait_for_disk: Return only when even a power cut could not undo it.

    Raises:
        OutputError: The disk refuses.
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
        raise OutputError(f"cannot write {path}: {error.strerror}; free some space or choose another place") from None


def _end_of_lines(file: BinaryIO) -> int:
    """Where the last whole line ends. Looked for from the end: files grow long, and this is asked for every line."""
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
    """The whole lines of a file, one after the other; none if there is no file.

    Raises:
        OutputError: The file cannot be read.
        ValueError: It is not UTF-8.
    """
    try:
        if not path.exists():
            return
        # As bytes, which split at line feeds alone: names may hold the other characters that end a line in Unicode.
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1].decode("utf-8")
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}; check its permissions") from None


def read_lines(path: Path) -> list[str]:
    """The whole lines of a file as a list; see :func:`each_line`."""
    return list(each_line(path))
