"""A kill at any moment of packing a residual or of unlocking: the same command ends as if nothing had happened."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint

pyrage = pytest.importorskip("pyrage", reason="sealing is an extra of the package")

RUNS = """
import hashlib, json, os, pathlib, signal, sys, traceback
import pyrage, sqlite3
from monai_advenc.cli import app
from monai_advenc.sharing import encrypt_folder
from monai_advenc.sharing.unlock import keep, unlock

folder, every, *command = sys.argv[1:]
EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "fcntl.lockf", "sqlite3.connect"}

def run(kill_at):
    # Returns the exit status and the number of file operations; kills itself just before one of them.
    read, write = os.pipe()
    child = os.fork()
    if not child:
        count, begun = 0, False
        def step(event, arguments=()):
            nonlocal count
            if begun and event in EVENTS and not (event == "open" and folder not in str(arguments[0])):
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
        def watched(function):
            def begin(*arguments, **options):
                nonlocal begun
                begun = True
                result = function(*arguments, **options)
                begun = False
                return result
            return begin
        def counted(function):
            def do(*arguments):
                result = function(*arguments)
                step("os.rename")  # Data is on disk, or in the pack, and not all of it.
                return result
            return do
        os.fsync, keep.write_entry = counted(os.fsync), counted(keep.write_entry)
        keep.keep_residual = watched(keep.keep_residual)
        unlock.unlock = watched(unlock.unlock)
        sys.addaudithook(step)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            app(command, standalone_mode=True)
        except SystemExit as ended:
            os.write(write, json.dumps([ended.code or 0, count]).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as told:
        return json.loads(told.read() or "null")

def files():
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in pathlib.Path(folder).rglob("*") if path.is_file()
    }

def remove(names):
    for name in names:
        (pathlib.Path(folder) / name).unlink()
    for path in sorted(pathlib.Path(folder).rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()

before = set(files())
code, operations = run(None)
print(json.dumps({"code": code, "operations": operations, "whole": files()}), flush=True)
for kill_at in range(0, operations, int(every)):
    remove(set(files()) - before)
    assert run(kill_at) is None
    left = files()
    again = run(None)
    print(json.dumps({"left": left, "code": again and again[0], "whole": files()}), flush=True)
    if os.environ.get("KEEP"):
        pathlib.Path(os.environ["KEEP"]).mkdir(exist_ok=True)
        content = (pathlib.Path(folder) / "shared-private" / "residual.age").read_bytes()
        (pathlib.Path(os.environ["KEEP"]) / str(kill_at)).write_bytes(content)
"""


def killed(folder: Path, every: int, *command: object, **environment: str) -> tuple[dict[str, Any], list[Any]]:
    """What a whole run leaves, and for each moment of a kill what it left and what the next run made of it."""
    words = [sys.executable, "-c", RUNS, str(folder), str(every), *map(str, command)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=900)
    whole, *moments = map(json.loads, (line for line in done.stdout.splitlines() if line.startswith('{"')))
    assert whole["code"] == 0
    assert len(moments) == -(-whole["operations"] // every)
    return whole["whole"], moments


@pytest.fixture
def released(tmp_path: Path) -> tuple[Path, list[object]]:
    """A folder with an encrypted data set and an unlock key, and the command that encrypted it."""
    generator = np.random.default_rng(0)
    for number in range(5):
        path = tmp_path / "in" / "abcde"[number] / f"{number}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(generator.integers(0, 255, (24, 20), np.uint8)).save(path)
    save_checkpoint(tmp_path / "base.pt", get_network("resnet_small", 5, 1, 24).eval(), "resnet_small", "abcde", 1, 24)
    key = tmp_path / "key.json"
    run(tmp_path, "keygen", key, "--classes", "a,b,c,d,e", "--steps", 1)
    run(tmp_path, "unlock-keygen", tmp_path / "unlock.txt")
    command: list[object] = ["encrypt", tmp_path / "in", "--out", tmp_path / "shared", "--key", key]
    command += ["--base", tmp_path / "base.pt", "--workers", 0, "--insist", "--format", "png8"]
    (tmp_path / "shared-private").mkdir()
    run(tmp_path, *command)
    return tmp_path, [*command, "--keep-residual", "--unlock-for", tmp_path / "unlock.txt.pub"]


def run(folder: Path, *words: object) -> None:
    from typer.testing import CliRunner

    from monai_advenc.cli import app

    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output


@pytest.mark.slow  # A minute: each moment is two runs.
@pytest.mark.skipif(sys.platform != "linux", reason="it forks")
def test_unlock_after_a_kill_at_any_moment_restores_the_same_and_leaves_nothing_else(
    released: tuple[Path, list[object]],
) -> None:
    folder, command = released
    run(folder, *command)
    back = folder / "back"
    residual = folder / "shared-private" / "residual.age"
    unlocking = ("unlock", folder / "shared", residual, "--unlock-key", folder / "unlock.txt", "--out", back)
    whole, moments = killed(folder, 2, *unlocking)
    assert len([name for name in whole if name.startswith("back/")]) == 5
    for name in [name for name in whole if name.startswith("back/")]:
        original = np.asarray(Image.open(folder / "in" / name.removeprefix("back/")))
        assert (np.asarray(Image.open(folder / name)) == original).all()
    finished = 0
    for moment in moments:
        done = {name for name in moment["left"] if name.startswith("back/")}
        assert done in (set(), {name for name in whole if name.startswith("back/")}), "all of it, or nothing"
        finished += bool(done)
        assert moment["code"] == (2 if done else 0)
        assert moment["whole"] == whole
    assert len(moments) > 20
    assert 0 < finished < 8


@pytest.mark.slow  # A minute: each moment is two runs.
@pytest.mark.skipif(sys.platform != "linux", reason="it forks")
def test_packing_after_a_kill_at_any_moment_keeps_the_same_residual_and_leaves_nothing_else(
    released: tuple[Path, list[object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, command = released
    kept = tmp_path_factory.mktemp("kept")
    whole, moments = killed(folder, 3, *command, KEEP=str(kept))
    residual = "shared-private/residual.age"
    assert residual in whole
    (identity,) = [line for line in (folder / "unlock.txt").read_text().splitlines() if line.startswith("AGE-SECRET")]
    opened = set()
    for path in kept.iterdir():
        target = io.BytesIO()
        pyrage.decrypt_io(io.BytesIO(path.read_bytes()), target, [pyrage.x25519.Identity.from_str(identity)])
        opened.add(target.getvalue())
    assert len(opened) == 1, "each sealing gives other bytes, but all open to the same content"
    for moment in moments:
        assert moment["code"] == 0
        assert set(moment["whole"]) == set(whole)
        same = {name for name in whole if moment["whole"][name] == whole[name]}
        assert set(whole) - same <= {residual, "shared-private/residual.json"}
    assert len(moments) > 10
