# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Notes about where unlock keeps originals: what a killed run left is found, and nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from monai_advenc.errors import OutputError
from monai_advenc.files.folder_lock import LOCK_NAME, FolderLock
from monai_advenc.files.parts import STALE_AFTER_S, locked_part
from monai_advenc.progress import ConsoleProgress
from monai_advenc.sharing.unlock.places import locked_place, remove_left_by_killed_runs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and locks are POSIX")


class Said(ConsoleProgress):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class KilledError(BaseException):
    """Stands for a kill."""


def kill(out: Path, private: Path) -> tuple[Path, Path]:
    """Leave what a run leaves that is killed while it restores: its place and its note."""
    private.mkdir(exist_ok=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = private.with_name("kept")
    with locked_place(out, private, Said()) as place:
        (place / "files").mkdir()
        (place / "files" / "1.png").write_bytes(b"an original")
        (note,) = private.iterdir()
        shutil.copytree(place, kept / "place")
        shutil.copy2(note, kept / "note")
    shutil.move(kept / "place", place)
    shutil.move(kept / "note", note)
    return place, note


def follow(tmp_path: Path) -> list[str]:
    """What the next run says, whose output lies elsewhere."""
    said = Said()
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    remove_left_by_killed_runs(tmp_path / "elsewhere", tmp_path / "private", said)
    return said.lines


def change(note: Path, **changes: Any) -> None:
    note.write_text(json.dumps(json.loads(note.read_text()) | changes))


def test_what_a_killed_run_left_is_removed_with_its_note(tmp_path: Path) -> None:
    place, note = kill(tmp_path / "far" / "back", tmp_path / "private")
    assert follow(tmp_path) == [f"Removed {place}, where an unlock that was killed had left originals."]
    assert not list(place.parent.iterdir())
    assert not note.exists()
    assert not follow(tmp_path)


def test_a_kill_while_it_is_removed_leaves_the_rest_where_the_note_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, note = kill(tmp_path / "far" / "back", tmp_path / "private")

    def die(path: Path, **_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die)
        with pytest.raises(KilledError):
            follow(tmp_path)
    assert (place / "files" / "1.png").exists()
    assert note.exists()
    assert len(follow(tmp_path)) == 1
    assert not list(place.parent.iterdir())


def test_a_run_that_cannot_remove_its_originals_leaves_its_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **options: object) -> None:
        if not options.get("ignore_errors"):
            raise PermissionError(1, "Operation not permitted")

    private = tmp_path / "private"
    private.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        with locked_place(tmp_path / "back", private, Said()) as place:
            (place / "files").mkdir()
    assert place.is_dir()
    assert len(list(private.iterdir())) == 1
    assert follow(tmp_path) == [f"Removed {place}, where an unlock that was killed had left originals."]


def test_an_empty_folder_in_the_place_of_a_disk_is_not_taken_for_the_disk(tmp_path: Path) -> None:
    place, note = kill(tmp_path / "disk" / "back", tmp_path / "private")
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    (tmp_path / "disk").mkdir()
    (said,) = follow(tmp_path)
    assert said.endswith(
        f"may have left originals in {place}, which cannot be removed from here (it is not there now): unless it is "
        f"still at work, remove them there, then {note}."
    )
    (tmp_path / "disk").rmdir()
    (tmp_path / "unplugged").rename(tmp_path / "disk")
    assert len(follow(tmp_path)) == 1
    assert not place.exists()
    assert not note.exists()


def test_a_note_whose_place_somebody_has_removed_goes_too(tmp_path: Path) -> None:
    place, note = kill(tmp_path / "far" / "back", tmp_path / "private")
    shutil.rmtree(place)
    assert not follow(tmp_path)
    assert not note.exists()
    assert not list(place.parent.iterdir())


def test_a_note_that_was_half_written_goes_unless_it_still_is(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    note = tmp_path / "private" / ".unlocking-0123456789abcdef.json"
    with locked_part(note, 0o600) as (part, descriptor):
        assert not follow(tmp_path)
        assert part.exists()
        os.close(descriptor)
    part.write_bytes(b"{")
    assert not follow(tmp_path)
    assert not part.exists()


def test_the_note_of_a_run_that_begins_stays(tmp_path: Path) -> None:
    place, note = kill(tmp_path / "far" / "back", tmp_path / "private")
    with FolderLock(place):
        assert not follow(tmp_path)
    assert note.exists()
    assert (place / "files" / "1.png").exists()


def test_where_locks_count_for_one_computer_only_what_another_one_writes_stays(tmp_path: Path) -> None:
    place, note = kill(tmp_path / "far" / "back", tmp_path / "private")
    change(note, host="of another")
    assert not follow(tmp_path)
    assert (place / "files" / "1.png").exists()
    long_ago = time.time() - STALE_AFTER_S - 1
    for each in (place, *place.rglob("*")):
        os.utime(each, (long_ago, long_ago))
    assert len(follow(tmp_path)) == 1
    assert not place.exists()
    assert not note.exists()


def test_a_run_on_another_computer_is_not_said_to_have_been_killed(tmp_path: Path) -> None:
    place, note = kill(tmp_path / "far" / "back", tmp_path / "private")
    change(note, host="scanner-7")
    shutil.rmtree(place)
    (said,) = follow(tmp_path)
    assert said.startswith("Warning: an unlock on scanner-7 may have left originals in ")
    assert "unless it is still at work" in said
    assert "killed" not in said
    assert note.exists()


def test_a_note_names_an_output_and_so_no_folder_that_is_no_place_of_unlock(tmp_path: Path) -> None:
    place, note = kill(tmp_path / "far" / "back", tmp_path / "private")
    mine = tmp_path / ".mine.01234567.advenc-part"  # As parts are called, but no output gives it this name.
    (mine / "work").mkdir(parents=True)
    shutil.rmtree(place)
    for forged in (mine, tmp_path / "mine", tmp_path / ".mine"):
        number = hashlib.sha256(os.fsencode(forged)).hexdigest()[:16]
        told = {"out": str(forged), "place": str(mine), "host": platform.node(), "folder": [0, 0]}
        note.with_name(f".unlocking-{number}.json").write_text(json.dumps(told))
    follow(tmp_path)
    assert (mine / "work").is_dir()


@pytest.mark.parametrize(
    "content", ["", "7", "[]", "[" * 60_000, '{"out": 7}', '{"out": null, "host": "a", "folder": [1, 2]}', "\0", "\x1b"]
)
def test_a_note_that_unlock_did_not_write_is_left_alone(content: str, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    note = tmp_path / "private" / ".unlocking-0123456789abcdef.json"
    note.write_text(content)
    assert not follow(tmp_path)
    assert note.read_text() == content


def test_a_pipe_in_the_place_of_a_note_is_not_waited_for_and_a_link_not_followed(tmp_path: Path) -> None:
    place, note = kill(tmp_path / "far" / "back", tmp_path / "private")
    note.rename(tmp_path / "of_another_user")
    note.symlink_to(tmp_path / "of_another_user")
    os.mkfifo(note.with_name(".unlocking-0123456789abcdef.json"))
    assert not follow(tmp_path)
    assert (place / "files" / "1.png").exists()


@pytest.mark.parametrize("host", ["a\nRemoved everything.", "\x1b[2J", 7])
def test_a_note_with_more_than_the_name_of_a_computer_is_left_alone(host: object, tmp_path: Path) -> None:
    place, note = kill(tmp_path / "far" / "back", tmp_path / "private")
    shutil.rmtree(place.parent)
    change(note, host=host)
    assert not follow(tmp_path)
    assert note.exists()


def test_a_warning_is_one_line_whatever_the_output_is_called(tmp_path: Path) -> None:
    place, _ = kill(tmp_path / "a\nfar\x1b[2J" / "back", tmp_path / "private")
    shutil.rmtree(place.parent)
    (said,) = follow(tmp_path)
    assert said.isprintable()


def test_a_note_that_would_not_be_read_is_said_not_to_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "private").mkdir()
    owner = os.geteuid()

    def other_owner() -> int:
        # As on a network share that gives the note, but not the output, to another user.
        return owner + any((tmp_path / "private").iterdir())

    monkeypatch.setattr(os, "geteuid", other_owner)
    said = Said()
    with locked_place(tmp_path / "back", tmp_path / "private", said) as place:
        assert not list((tmp_path / "private").iterdir())
    assert said.lines == [
        f"Warning: {tmp_path / 'private'} takes no note of where originals are kept until all are restored. If this "
        f"run is killed, remove {place}, or unlock into {tmp_path} again."
    ]


def test_what_somebody_else_put_there_is_named_and_stays(tmp_path: Path) -> None:
    place, note = kill(tmp_path / "far" / "back", tmp_path / "private")
    shutil.rmtree(place)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work").touch()
    place.symlink_to(tmp_path / "mine")
    (said,) = follow(tmp_path)
    assert "(it is no folder of this user)" in said
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["work"]
    assert note.exists()
    with (
        pytest.raises(OutputError, match="is of somebody else"),
        locked_place(tmp_path / "far" / "back", tmp_path / "private", Said()),
    ):
        pass
    assert not (tmp_path / "mine" / LOCK_NAME).exists()
