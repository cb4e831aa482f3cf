from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from monai_advenc.data.phantoms.volume import write_phantoms
from monai_advenc.files.parts import TEMPORARY_SUFFIX
from tests.forked_commands import start
from tests.integration.conftest import World

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")


def content_of(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def finish(arguments: tuple[object, ...], place: Path) -> float:
    """Run the command to its end; seconds from its first trace at ``place`` on, imports not counted."""
    process = start("monai_advenc", arguments)
    begin = wait_for(place, process)
    process.join(180)
    assert process.exitcode == 0
    return time.monotonic() - begin


def wait_for(place: Path, process: ForkServerProcess) -> float:
    while not place.exists() and process.exitcode is None:
        time.sleep(0.002)
    return time.monotonic()


def kill_after(arguments: tuple[object, ...], place: Path, seconds: float, *, with_workers: bool) -> None:
    process = start("monai_advenc", arguments)
    wait_for(place, process)
    time.sleep(seconds)
    if process.pid is not None and process.exitcode is None:
        # Without its workers, as when the out-of-memory killer picks the parent: they end a moment later.
        os.killpg(process.pid, signal.SIGKILL) if with_workers else process.kill()
    process.join(30)


def check_that_kills_leave_no_trace(
    arguments: tuple[object, ...],
    place: Path,
    out: Path,
    others: Path,
    expected: dict[str, str],
    duration: float,
    kills: int,
) -> None:
    """Kill at random moments, then finish: the same bytes, nothing half-written."""
    dice = random.Random(f"{arguments[0]} {kills}")
    for number in range(kills):
        kill_after(arguments, place, dice.uniform(0, duration), with_workers=number % 2 == 0)
    finish(arguments, out)
    assert content_of(out) == expected
    assert not list(others.rglob(f"*{TEMPORARY_SUFFIX}"))


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_killed_encryption_resumes_to_the_same_bytes(world: World, tmp_path: Path, kills: int) -> None:
    slices = tmp_path / "slices"
    finish(("slice", world.volumes, "--out", slices, "--size", 32, "--workers", 0), slices)
    common = ("encrypt", slices, "--key", world.key, "--base", world.base, "--workers", 2, "--out")
    duration = finish((*common, tmp_path / "whole"), tmp_path / "whole")
    expected = content_of(tmp_path / "whole")
    out = tmp_path / "killed"
    check_that_kills_leave_no_trace((*common, out), out, out, tmp_path, expected, duration, kills)


@pytest.mark.slow
def test_a_killed_slice_and_encrypt_resumes_to_the_same_bytes(tmp_path: Path, world: World) -> None:
    """With slicing, base training and encryption; killed at ten moments anywhere among them."""
    volumes = tmp_path / "volumes"
    write_phantoms(volumes, 20, seed=3, shape=(32, 32, 8))
    common = ("slice-and-encrypt", volumes, "--key", world.key, "--size", 32, "--epochs", 2, "--workers", 2)
    common = (*common, "--no-evaluate", "--out")
    duration = finish((*common, tmp_path / "whole"), tmp_path / "whole-private")
    expected = content_of(tmp_path / "whole")
    private = private_content_of(tmp_path / "whole-private")
    out = tmp_path / "killed"
    kept = tmp_path / "killed-private"
    check_that_kills_leave_no_trace((*common, out), kept, out, tmp_path, expected, duration, kills=10)
    assert private_content_of(kept) == private


def private_content_of(folder: Path) -> dict[str, str]:
    """Without the options of the run, which name its folders."""
    return {name: content for name, content in content_of(folder).items() if name != "run.yaml"}


@pytest.mark.slow
def test_two_runs_at_once_do_not_write_into_one_folder(world: World, tmp_path: Path) -> None:
    slices, out = tmp_path / "slices", tmp_path / "out"
    finish(("slice", world.volumes, "--out", slices, "--size", 32, "--workers", 0), slices)
    command = ("encrypt", slices, "--key", world.key, "--base", world.base, "--workers", 0, "--out", out)
    processes = [start("monai_advenc", command) for _ in range(3)]
    for process in processes:
        process.join(120)
    # One at least finishes; another is refused, or comes late and finds everything done.
    assert sorted({process.exitcode for process in processes}) in ([0], [0, 2])
    finish(command, out)
    assert len([path for path in out.rglob("*.png") if not path.stem.endswith(".mask")]) == 10
