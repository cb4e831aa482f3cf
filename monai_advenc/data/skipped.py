# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Report skipped files and folders, so that the owner does not take them for encrypted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_advenc.progress import Progress

_MOST_NAMES = 5


def say_skipped(skipped: Sequence[Path], root: Path, what: str, progress: Progress) -> None:
    """Report the number and the first names of skipped files and folders; nothing if there are none.

    Args:
        skipped: The files and folders.
        root: The folder that contains them.
        what: What was expected instead.
        progress: Receives the line.
    """
    if skipped:
        names = ", ".join(path.relative_to(root).as_posix() for path in skipped[:_MOST_NAMES])
        more = ", ..." if len(skipped) > _MOST_NAMES else ""
        progress.say(f"Note: skipped {len(skipped)} that are no {what}: {names}{more}.")
