# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Lock a folder so that only one run at a time writes into it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from threading import Lock
from typing import TextIO

from monai_advenc.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows has no record locks, so folders are not locked there.
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".advenc-lock"
"""Name of the lock file in a folder."""

_LOCKED: set[Path] = set()
"""Folders that this process has locked, because the system lets a process take its own record locks twice."""

_LOCKING = Lock()
"""Guards :data:`_LOCKED` against a race between threads."""


class FolderInUseError(OutputError):
    """Another run is writing into a folder."""


class FolderLock:
    """Lock that keeps other runs from writing into the same folder; it ends with the process, even after a kill.

    Args:
        folder: An existing folder.

    Raises:
        FolderInUseError: Another process, or another run in this process, holds the lock.
        OutputError: The lock cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._path = folder / LOCK_NAME
        with _LOCKING:
            if self._folder in _LOCKED:
                raise self._refusal()
            self._file = self._open_locked()
            _LOCKED.add(self._folder)

    def _open_locked(self) -> TextIO:
        while True:
            file = self._open()
            if fcntl is not None:
                try:
                    # A record lock, because workers do not inherit it and may briefly outlive a killed run.
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    file.close()
                    if error.errno in (errno.EACCES, errno.EAGAIN):
                        raise self._refusal() from None
                    # Some network file systems have no locks.
                    raise OutputError(
                        f"cannot lock {self._path}: {error.strerror}; choose a place on a local disk"
                    ) from None
            try:
                if os.path.samestat(os.fstat(file.fileno()), self._path.stat()):
                    return file
            except FileNotFoundError:
                pass
            # The previous holder removed the file between our opening and locking it: lock the current one.
            file.close()

    def _open(self) -> TextIO:
        try:
            # Neither truncate nor follow links: another user may have put a link to another file in its place.
            return os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644), "r+")
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}; choose another place") from None

    def _refusal(self) -> FolderInUseError:
        return FolderInUseError(f"another run is writing into {self._folder}; wait for it or choose another --out")

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *problem: object) -> None:
        self.release()

    def release(self) -> None:
        """Release the folder and remove the lock file."""
        with _LOCKING:
            self._path.unlink(missing_ok=True)
            self._file.close()
            _LOCKED.discard(self._folder)
