# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Where unlocking keeps originals until all are restored, and how the next run finds those that a killed one left."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from monai_advenc.data.private_folder import require_unshared
from monai_advenc.errors import OutputError, one_line
from monai_advenc.files.atomic import write_atomically
from monai_advenc.files.folder_lock import LOCK_NAME, FolderInUseError, FolderLock
from monai_advenc.files.parts import PART, STALE_AFTER_S, TEMPORARY_SUFFIX, remove_unless_written
from monai_advenc.progress import Progress

_NOTE_NAME: Final = ".unlocking-"
_NOTE: Final = re.compile(re.escape(_NOTE_NAME) + r"[0-9a-f]{16}\.json")
"""Name of a note in the folder of the residual that says where a run is at work: a later run may have its output
elsewhere, but comes back to the residual."""

_MOST_BYTES: Final = 1 << 16
"""Longest note that is read."""


class _Note(NamedTuple):
    """What a note says.

    Attributes:
        out: The output.
        host: The computer.
        folder: Device and number of the folder of the output.
    """

    out: Path
    host: str
    folder: list[int]


@contextlib.contextmanager
def locked_place(target: Path, private: Path, progress: Progress) -> Iterator[Path]:
    """A folder next to the output for what is not finished, empty and locked; afterwards it is removed.

    Args:
        target: The output.
        private: The folder of the residual, for a note about the place.
        progress: Receives a warning if that folder takes none.
    """
    place = _place_of(target)
    with _lock(place):
        note = None
        try:
            _empty(place)
            note = _write_note(target, private, progress)
            yield place
        finally:
            with contextlib.suppress(OSError):
                _empty(place)
                if note is not None:
                    # While the place is locked, because the next run with this output writes the same note.
                    note.unlink()
            shutil.rmtree(place, ignore_errors=True)


def remove_left_by_killed_runs(parent: Path, private: Path, progress: Progress) -> None:
    """Remove what killed runs left of any outputs in this folder, and wherever notes in the private folder say.

    Nobody would look for originals there. What cannot be removed is named.

    Args:
        parent: The folder of the output.
        private: The folder of the residual.
        progress: Receives what was removed, and what could not be.
    """
    notes: list[Path] = []
    with contextlib.suppress(OSError):
        notes = [path for path in private.iterdir() if _NOTE_NAME in path.name]
    for note in notes:
        if _NOTE.fullmatch(note.name):
            told = _read_note(note)
            if told is not None:
                _follow(note, told, progress)
        elif PART.fullmatch(note.name):
            with contextlib.suppress(OSError):
                remove_unless_written(note)
    for place in [path for path in parent.iterdir() if PART.fullmatch(path.name)]:
        with contextlib.suppress(OSError, OutputError):
            # One without more than a lock may be that of a run which has not locked it yet.
            if _is_own_folder(place) and _holds_more(place):
                _remove(place, progress)


def _place_of(target: Path) -> Path:
    # By the output alone, so that two runs with one output find each other, and the next run what a killed one left.
    number = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]
    return target.parent / f".{target.name[:50]}.{number}{TEMPORARY_SUFFIX}"


def _follow(note: Path, told: _Note, progress: Progress) -> None:
    """Remove the place that a note is about, unless a run is at work there, and the note."""
    place, is_elsewhere = _place_of(told.out), told.host != platform.node()
    was_there = os.path.lexists(place)
    try:
        if not was_there:
            if is_elsewhere or _identity(place.parent) != told.folder:
                raise OutputError("it is not there now")
            place.mkdir(mode=stat.S_IRWXU)  # To lock it: a run that begins there would write the same note.
        elif not _is_own_folder(place):
            raise OutputError("it is no folder of this user")
        # A note is written after the place was locked: if no run has the lock, it was killed. Some network shares,
        # though, lock for one computer only.
        if not (is_elsewhere and _was_just_written(place)):
            _remove(place, progress, note)
    except (FileExistsError, FolderInUseError):
        pass  # Another run is at work there.
    except (OSError, OutputError) as error:
        if was_there and not os.path.lexists(place):
            return  # Another run has just removed it.
        problem = (isinstance(error, OSError) and error.strerror) or error
        warning = (
            f"Warning: an unlock on {told.host} may have left originals in {place}, which cannot be removed from here "
            f"({problem}): unless it is still at work, remove them there, then {note}."
        )
        progress.say(one_line(warning))


def _read_note(note: Path) -> _Note | None:
    """What a note says; ``None`` if it is none of this user's: others may write into the folder of the residual too."""
    try:
        # Neither follow links nor wait for pipes; what is checked is what is read.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with os.fdopen(os.open(note, flags), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                return None
            told = json.loads(file.read(_MOST_BYTES))
        read = _Note(Path(told["out"]), told["host"], told["folder"])
        is_note = read.out.is_absolute() and isinstance(read.host, str) and read.host.isprintable()
        return read if is_note and note.name == _name_of_note(read.out) else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _identity(folder: Path) -> list[int]:
    """What tells a folder from the empty one in its place while its disk is not there."""
    found = folder.stat()
    return [found.st_dev, found.st_ino]


def _is_own_folder(place: Path) -> bool:
    found = place.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _holds_more(place: Path) -> bool:
    return any(path.name != LOCK_NAME for path in place.iterdir())


def _was_just_written(place: Path) -> bool:
    newest = max(each.lstat().st_mtime for each in (place, *place.rglob("*")))
    return time.time() - newest < STALE_AFTER_S


def _empty(place: Path) -> None:
    """Remove all but the lock of a locked place."""
    for left in list(place.iterdir()):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        elif left.name != LOCK_NAME:
            left.unlink()


def _remove(place: Path, progress: Progress, note: Path | None = None) -> None:
    with FolderLock(place):
        held_more = _holds_more(place)
        # A kill until here leaves the rest, and the note, for the next run.
        _empty(place)
        if note is not None:
            with contextlib.suppress(OSError):
                note.unlink()
        # Under another name, so that no run finds the folder without its lock and takes it.
        shutil.rmtree(place.rename(place.with_name(f".removed.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")))
    if held_more:
        progress.say(f"Removed {place}, where an unlock that was killed had left originals.")


def _name_of_note(out: Path) -> str:
    return f"{_NOTE_NAME}{hashlib.sha256(os.fsencode(out)).hexdigest()[:16]}.json"


def _write_note(target: Path, private: Path, progress: Progress) -> Path | None:
    """Write the note about the place of an output, or say what to do without one."""
    if not private.is_dir():
        return None  # There is no residual: nothing will be written.
    out = target.absolute()
    note = private / _name_of_note(out)
    content = json.dumps({"out": str(out), "host": platform.node(), "folder": _identity(out.parent)})
    try:
        require_unshared(note, "place")
        write_atomically(note, content.encode(), overwrite=True, mode=stat.S_IRUSR | stat.S_IWUSR)
        if _read_note(note) is None:  # Some network shares give files to another user.
            note.unlink(missing_ok=True)
            raise OutputError(f"{note} is of another user")
    except (OSError, OutputError):
        progress.say(
            f"Warning: {private} takes no note of where originals are kept until all are restored. If this run is "
            f"killed, remove {_place_of(out)}, or unlock into {out.parent} again."
        )
        return None
    return note


def _lock(place: Path) -> FolderLock:
    """Make a folder that only its owner can enter, and lock it."""
    while True:
        place.mkdir(mode=stat.S_IRWXU, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            # Where others may write too, somebody may have put a folder or a link of this name there.
            if not _is_own_folder(place):
                raise OutputError(f"{place} is of somebody else; remove it, or choose another --out")
            try:
                return FolderLock(place)
            except OutputError:
                if place.exists():
                    raise  # Otherwise the run that had it has just removed it.
