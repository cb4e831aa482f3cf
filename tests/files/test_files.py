from __future__ import annotations

import errno
import hashlib
import os
import secrets
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

import pytest

from monai_advenc.errors import OutputError
from monai_advenc.files import parts as parts_of_files
from monai_advenc.files.atomic import (
    is_writable,
    remove_temporaries,
    sha256_of,
    write_atomically,
    write_json,
    write_once,
)
from monai_advenc.files.folder_lock import _LOCKED, LOCK_NAME, FolderLock
from monai_advenc.files.json_lines import append_lines, read_lines
from monai_advenc.files.parts import TEMPORARY_SUFFIX, holds_files, remove_stale_parts


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_atomically(tmp_path / "sub" / "x", b"content")
    assert not list((tmp_path / "sub").iterdir())


def test_what_is_synced_is_the_whole_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    write_atomically(tmp_path / "a" / "b" / "x", b"content")
    assert sizes == [7]


def test_who_reads_the_old_content_is_not_disturbed_by_the_new(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x", b"first")
    with (tmp_path / "x").open("rb") as reader:
        write_atomically(tmp_path / "x", b"second", overwrite=True)
        assert reader.read() == b"first"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        write_atomically(tmp_path / "x", b"inner", overwrite=True)
        yield b"outer"

    write_atomically(tmp_path / "x", parts(), overwrite=True)
    assert (tmp_path / "x").read_bytes() == b"outer"


def test_a_link_in_place_of_the_temporary_file_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda count: "00" * count)
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / f".x.00000000{TEMPORARY_SUFFIX}").symlink_to(tmp_path / "precious")
    with pytest.raises(OutputError):
        write_atomically(tmp_path / "x", b"content")
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
def test_a_file_has_the_permissions_asked_for(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_atomically(tmp_path / "bytes", b"", mode=0o640)
        write_json(tmp_path / "json", {}, mode=0o600)
        write_atomically(tmp_path / "default", b"")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"bytes": 0o640, "json": 0o600, "default": 0o644}


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomically(path, b"first")
    with pytest.raises(OutputError, match="never overwritten"):
        write_atomically(path, b"second")
    assert path.read_bytes() == b"first"
    write_atomically(path, b"third", overwrite=True)
    assert path.read_bytes() == b"third"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK])
def test_file_systems_without_hard_links_work_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def unsupported(source: Path, target: Path) -> None:
        raise OSError(number, "no links here")

    monkeypatch.setattr(os, "link", unsupported)
    write_atomically(tmp_path / "x", b"content")
    assert (tmp_path / "x").read_bytes() == b"content"
    with pytest.raises(OutputError, match="never overwritten"):
        write_atomically(tmp_path / "x", b"other")
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(("letter", "count"), [("ü", 120), ("漢", 80)])
def test_long_names_fit(tmp_path: Path, letter: str, count: int) -> None:
    write_atomically(tmp_path / f"{letter * count}.png", b"content")


def test_what_killed_runs_leave_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".x.png.1a2b3c4d.advenc-part").write_bytes(b"half")
    (tmp_path / "a" / "x.png").write_bytes(b"whole")
    (tmp_path / "a" / ".back.1a2b3c4d.advenc-part").mkdir()  # Of an unlock into this folder.
    assert remove_temporaries(tmp_path) == 1
    assert sorted(each.name for each in (tmp_path / "a").iterdir()) == [".back.1a2b3c4d.advenc-part", "x.png"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX systems have such locks")
def test_a_run_removes_no_part_that_another_run_is_writing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    killed, running = (_writer(tmp_path / "a" / f"{name}.pt") for name in ("killed", "running"))
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    assert remove_temporaries(tmp_path) == 1
    assert [path.name[:8] for path in (tmp_path / "a").iterdir()] == [".running"]
    os.kill(running, signal.SIGKILL)
    os.waitpid(running, 0)
    assert remove_temporaries(tmp_path) == 1


@pytest.fixture
def all_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was written to parts for ten minutes."""
    monkeypatch.setattr(parts_of_files, "STALE_AFTER_S", -1.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX systems have such locks")
@pytest.mark.usefixtures("all_are_old")
def test_the_next_process_removes_the_part_of_a_killed_writer_and_none_of_a_running_one(tmp_path: Path) -> None:
    (tmp_path / ".notes.advenc-part.txt").write_bytes(b"of others")
    writers = [_writer(tmp_path / f"{name}.yaml") for name in ("killed", "running")]
    os.kill(writers[0], signal.SIGKILL)
    os.waitpid(writers[0], 0)
    assert sorted(path.name[:8] for path in tmp_path.iterdir()) == [".killed.", ".notes.a", ".running"]
    write_atomically(tmp_path / "x", b"content")
    assert sorted(path.name[:8] for path in tmp_path.iterdir()) == [".notes.a", ".running", "x"]
    os.kill(writers[1], signal.SIGKILL)
    os.waitpid(writers[1], 0)


def _writer(path: Path) -> int:
    """Start a process that is killed before it has written a file."""
    begun, begins = os.pipe()

    def parts() -> Iterator[bytes]:
        yield b"half"
        os.write(begins, b"x")
        signal.pause()

    child = os.fork()
    if child == 0:
        write_atomically(path, parts())
    os.read(begun, 1)
    return child


@pytest.mark.parametrize("name", ["x.0123abcd.advenc-part", ".0123abcd.advenc-part", ".x.0123abcd.advenc-part.txt"])
@pytest.mark.parametrize("number", ["0123ABCD", "0123abc", "0123abcde", "private_"])
@pytest.mark.usefixtures("all_are_old")
def test_only_files_with_the_name_of_a_part_are_removed(tmp_path: Path, name: str, number: str) -> None:
    others = {name, f".x.{number}.advenc-part", ".x.0123abcd.advenc-part"}
    for each in others:
        (tmp_path / each).touch()
    remove_stale_parts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == others - {".x.0123abcd.advenc-part"}


@pytest.mark.parametrize(("minutes", "stays"), [(9, True), (11, False)])
def test_a_part_that_was_written_to_in_the_last_ten_minutes_stays(tmp_path: Path, minutes: int, stays: bool) -> None:
    """Its writer may be on another computer, whose locks some network shares do not show."""
    part = tmp_path / ".x.0123abcd.advenc-part"
    part.touch()
    then = time.time() - 60 * minutes
    os.utime(part, (then, then))
    remove_stale_parts(tmp_path)
    assert part.exists() == stays


@pytest.mark.usefixtures("all_are_old")
def test_a_part_is_not_stale_while_another_thread_writes_it(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"half"
        remove_stale_parts(tmp_path)
        yield b", whole"

    write_atomically(tmp_path / "x", parts())
    assert (tmp_path / "x").read_bytes() == b"half, whole"


def test_a_part_that_was_removed_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, removed = parts_of_files._lock, []

    def late(descriptor: int) -> bool | None:
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].unlink()
        return before(descriptor)

    monkeypatch.setattr(parts_of_files, "_lock", late)
    write_atomically(tmp_path / "x", b"content")
    assert (tmp_path / "x").read_bytes() == b"content"
    assert removed != list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_a_part_that_another_process_is_about_to_remove_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, taken = parts_of_files._lock, []

    def first_by_another(descriptor: int) -> bool | None:
        if not taken:
            (part,) = tmp_path.iterdir()
            taken.append(os.open(part, os.O_RDWR))
            assert before(taken[0])
            own = before(descriptor)
            part.unlink()
            return own
        return before(descriptor)

    monkeypatch.setattr(parts_of_files, "_lock", first_by_another)
    write_atomically(tmp_path / "x", b"content")
    assert (tmp_path / "x").read_bytes() == b"content"
    os.close(taken[0])


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked on POSIX only")
def test_a_worker_does_not_keep_the_lock_of_a_killed_run(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time; from pathlib import Path\n"
        "from monai_advenc.files.folder_lock import FolderLock\n"
        "lock, worker = FolderLock(Path(sys.argv[1])), os.fork()\n"
        "if not worker: time.sleep(60)\n"
        "else: print(worker, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    # Into a file: the worker would hold the other end of a pipe.
    with (tmp_path / "worker").open("w+") as output:
        (tmp_path / "folder").mkdir()
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "folder")], stdout=output, check=False)
        worker = int((tmp_path / "worker").read_text())
    try:
        FolderLock(tmp_path / "folder").release()
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_lock_on_a_file_that_its_holder_removed_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="no record locks here")
    lock, calls = fcntl.lockf, 0

    def remove_first(file: TextIO, kind: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            (tmp_path / LOCK_NAME).unlink()
        if calls == 2:  # Or another run made a new one.
            (tmp_path / LOCK_NAME).unlink()
            (tmp_path / LOCK_NAME).touch()
        lock(file, kind)

    monkeypatch.setattr(fcntl, "lockf", remove_first)
    with FolderLock(tmp_path) as held:
        assert calls == 3
        assert os.path.samestat(os.fstat(held._file.fileno()), (tmp_path / LOCK_NAME).stat())


def test_a_lock_is_held_until_its_file_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given free first, it could be another run's file that is removed.
    unlink, closed = Path.unlink, []
    lock = FolderLock(tmp_path)

    def note(path: Path, missing_ok: bool = False) -> None:
        closed.append(lock._file.closed)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", note)
    lock.release()
    assert closed == [False]


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
    for content in ((1, 2), (1, 2), [1, 2]):
        write_once(tmp_path / "x.json", {"a": content}, "other")
    with pytest.raises(OutputError, match=r"^other \(what differs: new name, a\)$"):
        write_once(tmp_path / "x.json", {"new_name": 0, "a": [1, 3]}, "other")
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
    content = bytes(range(256)) * 10_000  # More than is read at a time.
    (tmp_path / "x").write_bytes(content)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def test_json_is_text_that_people_can_read(tmp_path: Path) -> None:
    write_json(tmp_path / "x", {"city": "Köln"})
    assert (tmp_path / "x").read_text(encoding="utf-8") == '{\n  "city": "Köln"\n}\n'


def test_a_folder_is_writable_where_the_nearest_one_that_exists_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    assert is_writable(tmp_path / "a" / "b")
    assert not is_writable(tmp_path / "file")
    assert not is_writable(tmp_path / "file" / "a")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert not is_writable(tmp_path / "a")


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


@pytest.mark.parametrize(
    ("path", "holds"),
    [
        ("class/case", False),
        (".advenc-lock", False),
        (".slices/.options.1a2b3c4d.advenc-part", False),
        (".x.advenc-part", True),
        ("class/image.png", True),
        (".hidden", True),
    ],
)
def test_a_folder_in_which_a_run_was_killed_before_its_first_file_holds_none(
    tmp_path: Path, path: str, holds: bool
) -> None:
    if path == "class/case":
        (tmp_path / path).mkdir(parents=True)
    else:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    assert holds_files(tmp_path) is holds


def test_a_link_to_a_folder_is_a_file_of_somebody(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path.parent)
    assert holds_files(tmp_path)


def test_what_cannot_be_looked_into_holds_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    assert not holds_files(tmp_path)
    listed = os.scandir

    def refuse(place: str) -> Iterator[os.DirEntry[str]]:
        if place.endswith("other"):
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return listed(place)

    monkeypatch.setattr(os, "scandir", refuse)  # Tests may run as root, who may read everything.
    assert holds_files(tmp_path)
