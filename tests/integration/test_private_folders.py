"""Tumor sizes and names never land in a data set that is shared, wherever --private points."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monai_advenc.cli import app
from tests.integration.conftest import World

Run = Callable[..., Any]
COMMANDS = ("encrypt", "encrypt-volume", "slice-and-encrypt")


@pytest.fixture(scope="module")
def slices(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantom slices of 32x32 pixels in class folders."""
    out = tmp_path_factory.mktemp("cut") / "slices"
    options = ["slice", str(world.volumes), "--out", str(out), "--size", "32", "--workers", "0"]
    assert CliRunner().invoke(app, options).exit_code == 0
    return out


def files_below(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in sorted(root.rglob("*"))}


@pytest.fixture
def share(world: World, run: Run, slices: Path) -> Callable[..., Any]:
    """Runs a command that encrypts."""

    def invoke(command: str, out: Path, private: Path, *more: object) -> Any:
        source = slices if command == "encrypt" else world.volumes
        files = ("--key", world.key, "--base", world.base, "--workers", 0)
        return run(command, source, "--out", out, *files, "--private", private, *more)

    return invoke


@pytest.mark.parametrize("place", ["out", "out/private", "out/a/b", "link", "other", "other/private"])
@pytest.mark.parametrize("identity", [(), ("--identity", "keep"), ("--identity", "remove")])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_private_folder_in_something_shared_is_refused_before_anything_is_written(
    share: Callable[..., Any], tmp_path: Path, command: str, identity: tuple[str, ...], place: str
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text(json.dumps({"format": "monai-advenc manifest"}))
    (tmp_path / "link").symlink_to(tmp_path / "out")
    before = files_below(tmp_path)
    result = share(command, tmp_path / "out", tmp_path / place, *identity)
    assert result.exit_code == 2
    (message,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "choose another --private" in message
    assert ("an encrypted data set, which is shared" if "other" in place else "lies in the output") in message
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("command", COMMANDS[:2])
def test_a_default_private_folder_in_something_shared_is_refused_too(
    world: World, slices: Path, run: Run, tmp_path: Path, command: str
) -> None:
    (tmp_path / "out-private").mkdir()
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "monai-advenc manifest"}))
    before = files_below(tmp_path)
    source = slices if command == "encrypt" else world.volumes
    result = run(command, source, "--out", tmp_path / "out", "--key", world.key, "--base", world.base, "--workers", 0)
    assert result.exit_code == 2
    assert "an encrypted data set, which is shared" in result.stderr
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("command", COMMANDS[:2])
def test_the_distances_of_every_data_set_with_one_private_folder_are_kept(
    share: Callable[..., Any], tmp_path: Path, command: str
) -> None:
    private = tmp_path / "one-private"
    places = [tmp_path / "one", tmp_path / "two", tmp_path / "elsewhere" / "two"]
    kept = []
    for out, region in zip(places, ("all", "body", "mask"), strict=True):
        assert share(command, out, private, "--region", region).exit_code == 0
        new = set(private.glob("distances*.jsonl")) - {path for path, _ in kept}
        kept += [(path, path.read_bytes()) for path in new]
    assert len(kept) == len(places)
    assert kept[0][0].name == "distances.jsonl"
    assert all(path.read_bytes() == content for path, content in kept)
    assert all(path.stat().st_mode & 0o077 == 0 for path, _ in kept)
    # A run that goes on writes to the same file.
    assert share(command, places[1], private, "--region", "body").exit_code == 0
    assert len(set(private.glob("distances*.jsonl"))) == len(places)
