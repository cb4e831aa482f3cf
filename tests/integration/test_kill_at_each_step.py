"""A kill before any of the file operations of a run: the same command then ends with the same files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from monai_advenc.cli import app
from tests.integration.conftest import World
from tests.integration.test_kill_and_resume import content_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 and fork are POSIX"),
]

CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "fcntl.lockf"}
EVERY = 2
"""Every second operation."""


def killed_before(operation: int | None, out: Path, command: tuple[object, ...]) -> list[int] | None:
    """Exit status and number of file operations of a run in a process of its own; ``None`` if it was killed."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        count, process = 0, os.getpid()

        def step(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            writes = event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(str(out))
            writes = writes and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
            if (writes or event in CHANGES) and os.getpid() == process:
                if count == operation:
                    os.kill(process, signal.SIGKILL)
                count += 1

        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.addaudithook(step)
        try:
            app([str(word) for word in command], standalone_mode=True)
        except SystemExit as ended:
            os.write(write, json.dumps([ended.code or 0, count]).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as told:
        found: list[int] | None = json.loads(told.read() or "null")
    return found


@pytest.mark.parametrize("name", ["slice", "encrypt, in workers", "encrypt-volume"])
def test_a_run_that_was_killed_at_any_step_is_repeated_with_the_same_result(
    world: World, tmp_path: Path, name: str
) -> None:
    out, secrets = tmp_path / "out", ("--key", world.key, "--base", world.base)
    if name == "slice":
        command: tuple[object, ...] = ("slice", world.volumes, "--size", 32, "--workers", 0, "--out", out)
    elif name == "encrypt-volume":
        command = (name, world.volumes, *secrets, "--workers", 0, "--out", out)
    else:
        slicing = ("slice", world.volumes, "--size", 32, "--workers", 0, "--out", tmp_path / "slices")
        assert killed_before(None, tmp_path, slicing)
        command = ("encrypt", tmp_path / "slices", *secrets, "--workers", 2, "--out", out)
    ended = killed_before(None, out, command)
    assert ended is not None
    assert ended[0] == 0
    assert ended[1] > 15
    whole = content_of(out)
    for operation in range(0, ended[1], EVERY):
        shutil.rmtree(out)
        assert killed_before(operation, out, command) is None
        again = killed_before(None, out, command)
        assert again is not None, operation
        assert again[0] == 0, operation
        assert content_of(out) == whole, operation
