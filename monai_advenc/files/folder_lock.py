# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Folder lock: one run at a time writes into a folder."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import TextIO

from monai_advenc.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows knows no record locks; there the folder is not guarded.
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".advenc-lock"
"""A file in a folder that is being written into."""

_LOCKED: set[Path] = set()
"""Folders that this process has locked: the system lets a process take its own record locks twice."""

_LOCKING = Lock()
"""Held while :data:`_LOCKED` is looked at and changed, as two threads may want one folder in the same moment."""


class FolderLock:
    """Keeps others from writing into the same folder; gone when its process is, however it ended.

    Args:
        folder: An existing folder.

    Raises:
        OutputError: Another process, or another run in this one, holds the lock, or the disk refuses.
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
                    # A record lock, which workers do not inherit: they may outlive a killed run by a moment.
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    file.close()
                    raise self._refusal() from None
            if self._path.exists() and os.path.samestat(os.fstat(file.fileno()), self._path.stat()):
                return file
            # Whoever held it removed the file between our opening and locking it: lock the one that is there now.
            file.close()

    def _open(self) -> TextIO:
        try:
            # Neither emptied nor followed: who can write here may have put a link to another file in its place.
            return os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644), "r+")
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}; choose another place") from None

    def _refusal(self) -> OutputError:
        return OutputError(f"another run is writing into {self._folder}; wait for it or choose another --out")

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *problem: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the folder free and remove the lock's file."""
        with _LOCKING:
            self._path.unlink(missing_ok=True)
            self._file.close()
            _LOCKED.discard(self._folder)
