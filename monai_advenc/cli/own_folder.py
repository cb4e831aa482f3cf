# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Folders for results that stay with their owner: reports that show originals, guesses of a key."""

from __future__ import annotations

from pathlib import Path

from monai_advenc.errors import OutputError


def require_own_folder(out: Path, shared: Path, marker: str, what: str) -> None:
    """Raise unless a folder is new, empty or ours, and lies outside the data set that is shared.

    It is not made yet: whoever writes into it makes it private first.

    Args:
        out: Where results are to go.
        shared: The encrypted data set.
        marker: Name of the file that says a folder is ours.
        what: What such a folder holds, for messages.

    Raises:
        OutputError: It is none of these.
    """
    if shared.resolve() in (out.resolve(), *out.resolve().parents):
        raise OutputError(f"{out} lies in the data set that is shared, which must not hold {what}; give another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / marker).is_file():
        raise OutputError(f"{out} is not empty and holds no {what}; give another --out")
