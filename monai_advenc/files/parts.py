# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Files that are being written: their hidden names, their locks, and the removal of those of killed runs.

One rule holds for all: the first time that a process writes into a folder, it removes the parts there whose writer is
gone and that nothing was written to for ten minutes. A writer locks its part, and the system releases the lock when the
writer ends, even by a kill.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from monai_advenc.files.folder_lock import LOCK_NAME

try:
    import fcntl
except ImportError:  # Windows has no such locks, so stale parts stay there.
    fcntl = None  # type: ignore[assignment]

TEMPORARY_SUFFIX: Final = ".advenc-part"
"""Suffix of files that are being written; after a crash, files with it may be deleted."""

PART: Final = re.compile(r"\..*\.[0-9a-f]{8}" + re.escape(TEMPORARY_SUFFIX), re.DOTALL)
"""Name of a part: a dot, the beginning of the final name, and a number."""

STALE_AFTER_S: Final = 600.0
"""A part that was written to since so many seconds stays."""

_CLEANED: Final[set[Path]] = set()
"""Folders in which this process has removed stale parts: to list a large folder before each file would take long."""


@contextlib.contextmanager
def locked_part(path: Path, mode: int) -> Iterator[tuple[Path, int]]:
    """Create an empty part of a file in its folder, which must exist, locked until the end.

    Args:
        path: The file that is to be written.
        mode: Permission bits of the part.

    Yields:
        The part and a descriptor to write it by, which the caller closes. It is removed afterwards, unless it was
        renamed.

    Raises:
        OSError: The part cannot be created.
    """
    _clean_once(path.parent)
    # File systems count bytes, not characters.
    start = path.name.encode()[:100].decode(errors="ignore")
    while True:
        part = path.with_name(f".{start}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        is_taken = _lock(descriptor) is False or not (fcntl is None or os.fstat(descriptor).st_nlink)
        if not is_taken:
            break
        os.close(descriptor)  # Another process took it for stale before it was locked.
    # A duplicate keeps the lock while the part is renamed. Windows renames no open file.
    held = None if fcntl is None else os.dup(descriptor)
    try:
        yield part, descriptor
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
        if held is not None:
            os.close(held)


def remove_stale_parts(folder: Path, after_s: float | None = None) -> None:
    """Remove the parts in a folder whose writer is gone; what cannot be read or removed stays.

    Args:
        folder: The folder.
        after_s: Seconds since something was written to a part; ``None``: :data:`STALE_AFTER_S`. A run that has locked
            the folder against others need not wait.
    """
    after_s = STALE_AFTER_S if after_s is None else after_s
    with contextlib.suppress(OSError):
        for part in [path for path in folder.iterdir() if PART.fullmatch(path.name)]:
            with contextlib.suppress(OSError):
                _remove_if_stale(part, after_s)


def holds_files(folder: Path) -> bool:
    """Whether anything under a folder is a file, but for locks and parts: a run may be killed before its first file.

    Links count as files, and so do folders that cannot be read.
    """
    unreadable: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=unreadable.append):
        own = any(name != LOCK_NAME and not PART.fullmatch(name) for name in names)
        if own or any(Path(place, name).is_symlink() for name in folders):
            return True
    return bool(unreadable)


def _clean_once(folder: Path) -> None:
    place = folder.absolute()
    if place not in _CLEANED:
        _CLEANED.add(place)
        remove_stale_parts(folder)


def _remove_if_stale(part: Path, after_s: float) -> None:
    with _opened(part) as descriptor:
        # Some network shares lock for one computer only: a part that is written to may have a writer on another.
        is_old = time.time() - os.fstat(descriptor).st_mtime >= after_s
        if is_old and _lock(descriptor):
            part.unlink()


def remove_unless_written(part: Path) -> bool:
    """Remove a part, or what lies in its place, unless its writer is at work; return whether it was removed.

    Args:
        part: A file or link in a folder that the caller has locked.
    """
    with contextlib.ExitStack() as opened:
        descriptor = None
        with contextlib.suppress(OSError):  # A link, or one that cannot be written to: no writer has it open.
            descriptor = opened.enter_context(_opened(part))
        if descriptor is not None and _lock(descriptor) is False:
            return False
        part.unlink(missing_ok=True)
    return True


@contextlib.contextmanager
def _opened(part: Path) -> Iterator[int]:
    """A descriptor to lock a part by; links are not followed, and pipes not waited for."""
    descriptor = os.open(part, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock an open file against all other descriptors: whether it is locked; ``None`` where there are no locks."""
    is_locked: bool | None = None
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_locked = True
    except BlockingIOError:
        is_locked = False
    except OSError:  # Some network shares have none.
        pass
    return is_locked
