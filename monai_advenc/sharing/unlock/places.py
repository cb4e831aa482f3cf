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
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from monai_advenc.data.private_folder import require_unshared
from monai_advenc.errors import OutputError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.files.folder_lock import LOCK_NAME, FolderInUseError, FolderLock
from monai_advenc.files.parts import PART, TEMPORARY_SUFFIX, remove_unless_written
from monai_advenc.progress import Progress

_NOTE_NAME: Final = ".unlocking-"
_NOTE: Final = re.compile(re.escape(_NOTE_NAME) + r"[0-9a-f]{16}\.json")
"""Name of a note in the folder of the residual that says where a run is at work: a later run may have its output
elsewhere, but comes back to the residual."""


@contextlib.contextmanager
def locked_place(target: Path, private: Path, progress: Progress) -> Iterator[Path]:
    """A folder next to the output for what is not finished, empty and locked; afterwards it is removed.

    Its name depends on the output alone, so that two runs with one output find each other, and the next run what a
    killed one left.

    Args:
        target: The output.
        private: The folder of the residual, for a note about the place.
        progress: Receives a warning if that folder takes none.
    """
    number = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]
    place = target.parent / f".{target.name[:50]}.{number}{TEMPORARY_SUFFIX}"
    with _lock(place):
        note = None
        try:
            for left in place.iterdir():
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left)
                elif left.name != LOCK_NAME:
                    left.unlink()
            note = _write_note(place, private, progress)
            yield place
        finally:
            shutil.rmtree(place / "files", ignore_errors=True)
            if note is not None:
                # While the place is locked, because the next run with this output writes the same note.
                with contextlib.suppress(OSError):
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
            _follow(note, progress)
        elif PART.fullmatch(note.name):
            with contextlib.suppress(OSError):
                remove_unless_written(note)
    for place in [path for path in parent.iterdir() if PART.fullmatch(path.name)]:
        with contextlib.suppress(OSError, OutputError):
            # One without more than a lock may be that of a run which has not locked it yet.
            if _is_own_folder(place) and _holds_more(place):
                _remove(place, progress)


def _follow(note: Path, progress: Progress) -> None:
    """Remove the place that a note is about, unless a run is at work there; then the note."""
    try:
        told = json.loads(note.read_text(encoding="utf-8"))
        place, host = Path(told["place"]), str(told["host"])
        is_note = note.lstat().st_uid == os.geteuid() and PART.fullmatch(place.name) and place.is_absolute()
    except (OSError, ValueError, LookupError, TypeError):
        is_note = None
    if not is_note:
        return
    try:
        if os.path.lexists(place):
            if not _is_own_folder(place):
                raise OutputError(f"{place} is no folder of this user")
            # A note is written after the place was locked: if no run has the lock, it was killed.
            _remove(place, progress)
        elif host != platform.node() or not place.parent.is_dir():
            raise OutputError(f"{place} is not there now")
        note.unlink(missing_ok=True)
    except (FileNotFoundError, FolderInUseError):
        pass  # Another run is at work there, or has just removed it.
    except (OSError, OutputError) as error:
        problem = (isinstance(error, OSError) and error.strerror) or error
        progress.say(
            f"Warning: an unlock on {host} that was killed may have left originals in {place}, which cannot be removed "
            f"from here ({problem}): remove it there, then {note}."
        )


def _is_own_folder(place: Path) -> bool:
    found = place.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _holds_more(place: Path) -> bool:
    return any(path.name != LOCK_NAME for path in place.iterdir())


def _remove(place: Path, progress: Progress) -> None:
    with FolderLock(place):
        held_more = _holds_more(place)
        # Under another name, so that no run finds the folder without its lock and takes it.
        shutil.rmtree(place.rename(place.with_name(f".removed.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")))
    if held_more:
        progress.say(f"Removed {place}, where an unlock that was killed had left originals.")


def _write_note(place: Path, private: Path, progress: Progress) -> Path | None:
    """Write the note about a place, or say what to do without one."""
    if not private.is_dir():
        return None  # There is no residual: nothing will be written.
    where = place.absolute()
    note = private / f"{_NOTE_NAME}{hashlib.sha256(os.fsencode(where)).hexdigest()[:16]}.json"
    content = json.dumps({"place": str(where), "host": platform.node()})
    try:
        require_unshared(note, "place")
        write_atomically(note, content.encode(), overwrite=True, mode=stat.S_IRUSR | stat.S_IWUSR)
    except OutputError:
        progress.say(
            f"Warning: {private} takes no note of where originals are kept until all are restored. If this run is "
            f"killed, remove {place}, or unlock into {place.parent} again."
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
