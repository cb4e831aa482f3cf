# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Writing files so that a reader sees the old content, the new content, or nothing, but never half of it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Any, TextIO

from monai_advenc.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows knows no record locks; there the folder is not guarded.
    fcntl = None  # type: ignore[assignment]

TEMPORARY_SUFFIX = ".advenc-part"
"""Ends the name of every file that is still being written; whatever bears it after a crash may be deleted."""


LOCK_NAME = ".advenc-lock"
"""A file in a folder that is being written into."""


def write_atomically(path: Path, data: bytes | Iterable[bytes], *, overwrite: bool = False, mode: int = 0o644) -> None:
    """Write ``data`` to a temporary neighbor, sync it to disk, and give it its name in one step.

    Args:
        path: Where to write. Missing parent folders are created.
        data: The whole content, at once or in parts.
        overwrite: Replace an existing file. Without it an existing file is an error and stays as it is.
        mode: Permission bits of the new file.

    Raises:
        OutputError: The file exists (without ``overwrite``), or the disk refuses: full, read-only, no permission.
    """
    # File systems count bytes, not characters.
    start = path.name.encode()[:100].decode(errors="ignore")
    temporary = path.with_name(f".{start}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _rename_to_free_name(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, FileExistsError):
            raise OutputError(f"{path} exists already and is never overwritten; choose another name") from None
        raise OutputError(f"cannot write {path}: {error.strerror}; free some space or choose another place") from None
    except BaseException:  # From whoever makes the parts.
        temporary.unlink(missing_ok=True)
        raise


def _rename_to_free_name(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # Unlike a rename, fails when the name is taken.
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        # Some file systems (FAT, some network shares) know no hard links: check, then rename.
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.rename(path)
    else:
        temporary.unlink()


def write_json(path: Path, content: Any, *, overwrite: bool = False, mode: int = 0o644) -> None:
    """Write ``content`` as readable JSON (UTF-8, two spaces, final newline); see :func:`write_atomically`."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode(), overwrite=overwrite, mode=mode)


def remove_temporaries(folder: Path) -> int:
    """Delete what killed runs left half-written anywhere under ``folder``; return how many files that were."""
    leftovers = list(folder.rglob(f".*{TEMPORARY_SUFFIX}"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


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


def write_once(path: Path, content: Any, refusal: str) -> None:
    """Write JSON that says what a folder is for; if it is there already, it must say the same.

    Raises:
        OutputError: It says something else (the message is ``refusal``), or the disk refuses.
    """
    if path.exists():
        try:
            same = json.loads(path.read_bytes()) == json.loads(json.dumps(content))
        except (OSError, ValueError):
            same = False
        if not same:
            raise OutputError(refusal)
    else:
        write_json(path, content)


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or the folder itself in the nearest one that exists."""
    nearest = next((place for place in (folder, *folder.absolute().parents) if place.exists()), folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
