"""``--assume-orientation`` in the commands, for a copy of the phantoms that does not say how it lies."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import pytest

from tests.integration.conftest import World

Run = Callable[..., Any]


@pytest.fixture
def silent(world: World, tmp_path: Path) -> tuple[Path, str]:
    """One case of each class with both codes 0, and where its axes point."""
    letters = set()
    for folder in world.volumes.glob("*/"):
        case = min(folder.iterdir())
        copy = tmp_path / "volumes" / folder.name / case.name
        copy.mkdir(parents=True)
        for path in case.iterdir():
            letters.add("".join(nibabel.aff2axcodes(nibabel.load(path).affine)))
            content = bytearray(gzip.decompress(path.read_bytes()))
            content[252:256] = bytes(4)  # qform_code and sform_code
            (copy / path.name).write_bytes(gzip.compress(content))
    return tmp_path / "volumes", letters.pop()


def test_slices_are_those_of_files_that_say_how_they_lie(
    world: World, silent: tuple[Path, str], run: Run, tmp_path: Path
) -> None:
    volumes, letters = silent
    common = ("--format", "png16", "--size", 32, "--workers", 0)
    refused = run("slice", volumes, "--out", tmp_path / "refused", *common)
    assert refused.exit_code == 2
    assert "--assume-orientation" in refused.stderr
    wrong = run("slice", volumes, "--out", tmp_path / "refused", *common, "--assume-orientation", "LLL")
    assert "expected three letters" in wrong.stderr
    assert run("slice", world.volumes, "--out", tmp_path / "stated", *common).exit_code == 0
    assumed = run("slice", volumes, "--out", tmp_path / "assumed", *common, "--assume-orientation", letters)
    assert assumed.exit_code == 0, assumed.output
    written = sorted((tmp_path / "assumed").rglob("*.png"))
    assert len(written) == 10
    for path in written:
        assert path.read_bytes() == (tmp_path / "stated" / path.relative_to(tmp_path / "assumed")).read_bytes()
    with (tmp_path / "assumed" / "slices.csv").open() as table:
        assert {row["assumed_orientation"] for row in csv.DictReader(table)} == {letters}
    with (tmp_path / "stated" / "slices.csv").open() as table:
        assert "assumed_orientation" not in next(csv.reader(table))


def test_volumes_are_encrypted_and_verified_without_asking_again(
    world: World, silent: tuple[Path, str], run: Run, tmp_path: Path
) -> None:
    volumes, letters = silent
    secrets = ("--key", world.key, "--base", world.base, "--workers", 0)
    command = ("encrypt-volume", volumes, "--out", tmp_path / "out", *secrets)
    assert "--assume-orientation" in run(*command).stderr
    for _ in range(2):  # The second time, nothing is left to do.
        done = run(*command, "--assume-orientation", letters)
        assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [record["assumed_orientation"] for record in manifest["volumes"]] == [letters] * 5
    checked = run("verify", tmp_path / "out", "--originals", volumes, "--json")
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["compared"] == 5
    for path in (tmp_path / "out").rglob("*.nii.gz"):
        assert nibabel.load(path).header["sform_code"] == 0
