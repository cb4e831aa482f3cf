# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Report which files and folders are not read, so that nobody takes them for encrypted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_advenc.progress import Progress

_MOST_NAMES = 5


def say_passed_over(passed_over: Sequence[Path], root: Path, what: str, progress: Progress) -> None:
    """Say how many files and folders were not read, and the first names; nothing where there are none.

    Args:
        passed_over: The files and folders.
        root: The folder that they are in.
        what: What they are not.
        progress: Takes the line.
    """
    if passed_over:
        names = ", ".join(path.relative_to(root).as_posix() for path in passed_over[:_MOST_NAMES])
        more = ", ..." if len(passed_over) > _MOST_NAMES else ""
        progress.say(f"Note: passed over {len(passed_over)} that are no {what}: {names}{more}.")
