# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of JSON lines that are only added to: a line cut short by a kill is noticed and left out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from monai_advenc.errors import OutputError


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Add lines to a file, on disk before this returns; half a line at its end is cut off first.

    Args:
        path: The file; it and its folder are made if missing.
        lines: Without line ends.

    Raises:
        OutputError: The disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; free some space or choose another place") from None


def read_lines(path: Path) -> list[str]:
    """The whole lines of a file; none if there is no file.

    Raises:
        OutputError: The file cannot be read.
        ValueError: It is not UTF-8.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    # Split at line feeds alone: names may hold the other characters that end a line in Unicode.
    return content.decode("utf-8").split("\n")[:-1]
