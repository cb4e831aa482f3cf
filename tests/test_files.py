from __future__ import annotations

import errno
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from monai_advenc.errors import OutputError
from monai_advenc.files import (
    _LOCKED,
    LOCK_NAME,
    FolderLock,
    remove_temporaries,
    sha256_of,
    write_atomically,
    write_once,
)
from monai_advenc.json_lines import append_lines, read_lines


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_atomically(tmp_path / "sub" / "x", b"content")
    assert not list((tmp_path / "sub").iterdir())


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomically(path, b"first")
    with pytest.raises(OutputError, match="never overwritten"):
        write_atomically(path, b"second")
    assert path.read_bytes() == b"first"
    write_atomically(path, b"third", overwrite=True)
    assert path.read_bytes() == b"third"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_file_systems_without_hard_links_work_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", unsupported)
    write_atomically(tmp_path / "x", b"content")
    assert (tmp_path / "x").read_bytes() == b"content"
    with pytest.raises(OutputError, match="never overwritten"):
        write_atomically(tmp_path / "x", b"other")
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_long_names_fit(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("ü" * 120 + ".png"), b"content")


def test_what_killed_runs_leave_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".x.png.1a2b3c4d.advenc-part").write_bytes(b"half")
    (tmp_path / "a" / "x.png").write_bytes(b"whole")
    assert remove_temporaries(tmp_path) == 1
    assert [each.name for each in (tmp_path / "a").iterdir()] == ["x.png"]


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    child = os.fork() if hasattr(os, "fork") else None
    if child == 0:
        _LOCKED.clear()  # What the parent knows of its own locks; the system must refuse by itself.
        try:
            FolderLock(tmp_path)
        except OutputError:
            os._exit(2)
        os._exit(0)
    if child is not None:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    lock.release()
    FolderLock(tmp_path).release()
    assert not list(tmp_path.iterdir())


def test_one_process_does_not_get_a_lock_twice(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(OutputError, match="another run is writing"):
        FolderLock(tmp_path / ".." / tmp_path.name)
    with FolderLock(tmp_path):
        pass


def test_a_lock_harms_no_file_that_a_link_in_its_place_leads_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / LOCK_NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(OutputError, match="symbolic links"):
        FolderLock(tmp_path / "folder")
    assert (tmp_path / "precious").read_text() == "precious"


def test_of_two_threads_one_gets_the_lock(tmp_path: Path) -> None:
    def attempt(start: threading.Barrier) -> FolderLock | None:
        start.wait()
        try:
            return FolderLock(tmp_path)
        except OutputError:
            return None

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            for _ in range(200):
                start = threading.Barrier(2)
                held = [lock for lock in pool.map(attempt, (start, start)) if lock is not None]
                assert len(held) == 1
                held[0].release()
    finally:
        sys.setswitchinterval(before)


def test_what_a_folder_is_for_is_written_once(tmp_path: Path) -> None:
    write_once(tmp_path / "x.json", {"a": (1, 2)}, "other")
    write_once(tmp_path / "x.json", {"a": [1, 2]}, "other")
    with pytest.raises(OutputError, match="other"):
        write_once(tmp_path / "x.json", {"a": [1, 3]}, "other")
    (tmp_path / "x.json").write_text("no json")
    with pytest.raises(OutputError, match="other"):
        write_once(tmp_path / "x.json", {"a": [1, 2]}, "other")


def test_lines_are_added_after_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "lines"
    append_lines(path, ["one\u2028", "two\x85"])
    with path.open("ab") as file:
        file.write(b"half a li")
    assert read_lines(path) == ["one\u2028", "two\x85"]
    append_lines(path, ["three"])
    assert read_lines(path) == ["one\u2028", "two\x85", "three"]
    assert read_lines(tmp_path / "none") == []


def test_checksums(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("length", [1, 65535, 65536, 65537, 200000])
def test_half_a_line_of_any_length_is_cut_off(tmp_path: Path, length: int) -> None:
    path = tmp_path / "lines.jsonl"
    append_lines(path, ["one", "two" * 50000])
    with path.open("ab") as file:
        file.write(b"x" * length)
    append_lines(path, ["three"])
    assert read_lines(path) == ["one", "two" * 50000, "three"]
    path.write_bytes(b"x" * length)
    append_lines(path, ["first"])
    assert read_lines(path) == ["first"]


def test_content_in_parts_is_one_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", (bytes([digit]) * 1000 for digit in range(3)))
    assert (tmp_path / "file").read_bytes() == b"\0" * 1000 + b"\1" * 1000 + b"\2" * 1000
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "other", (bytes([1 // digit]) for digit in (1, 0)))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
