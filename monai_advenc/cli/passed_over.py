# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Saying which files and folders are not read, so that nobody takes them for encrypted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_advenc.cli.console import Output

_MOST_NAMES = 5


def tell_passed_over(passed_over: Sequence[Path], root: Path, what: str, output: Output) -> None:
    """One line with the number of files and folders that were passed over, and the first names.

    Args:
        passed_over: The files and folders.
        root: The folder that they are in.
        what: What they are not.
        output: Where to say it.
    """
    if passed_over:
        names = ", ".join(path.relative_to(root).as_posix() for path in passed_over[:_MOST_NAMES])
        more = ", ..." if len(passed_over) > _MOST_NAMES else ""
        output.say(f"Note: passed over {len(passed_over)} that are no {what}: {names}{more}.")
