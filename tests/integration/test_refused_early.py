"""A wrong key is refused before anything is named, trained or written, and a wrong place before anything is read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_advenc.bundle.encrypted_output import EncryptedOutput
from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import OutputError
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.conftest import tiny_network
from tests.integration.conftest import World
from tests.integration.test_recommend import pageless

__all__ = ["pageless"]

Run = Callable[..., Any]


def encrypting(run: Run, world: World, out: Path, *words: object) -> Any:
    base = () if "--base" in words else ("--base", world.base)
    return run(
        *("slice-and-encrypt", world.volumes, "--out", out, "--size", 32, "--workers", 0, "--no-evaluate"),
        *("--format", "png8", "--steps", 2, *base, *words),
    )


def the_line(result: Any) -> str:
    assert result.exit_code == 2, result.output
    line: str = result.stderr.splitlines()[-1]
    assert result.output.count("error:") == 1
    return line


@pytest.mark.usefixtures("pageless")
def test_another_radius_for_a_folder_that_was_begun_is_refused_before_a_base_is_trained(
    run: Run, world: World, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    assert encrypting(run, world, shared).exit_code == 0
    volumes = Path(shutil.copytree(world.volumes, tmp_path / "volumes"))
    for case in list(volumes.glob("*/*")):
        for copy in range(9):
            shutil.copytree(case, case.with_name(f"{case.name}-{copy}"))
    before = {path: path.read_bytes() for path in shared.rglob("*") if path.is_file()}
    words = ("slice-and-encrypt", volumes, "--out", shared, "--private", tmp_path / "other", "--radius", 3)
    for more in ((), ("--dry-run",), ("--base", world.base)):
        result = run(*words, *more)
        assert "was begun with another key" in the_line(result)
        assert len(result.output.splitlines()) == 1
    assert not (tmp_path / "other").exists()
    assert {path: path.read_bytes() for path in shared.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("pageless")
def test_other_slices_than_those_of_the_private_folder_name_the_option_for_a_new_one(
    run: Run, world: World, tmp_path: Path
) -> None:
    for words, option in (((), "--out"), (("--private", tmp_path / "own"), "--private and --out")):
        shared = tmp_path / option
        assert encrypting(run, world, shared, *words).exit_code == 0
        line = the_line(encrypting(run, world, shared, *words, "--fit", "resize"))
        assert "(fit pad-or-crop, not resize)" in line
        assert f"or begin in a new folder ({option})" in line


@pytest.mark.parametrize("command", ["encrypt", "encrypt-volume"])
def test_a_wrong_key_is_refused_before_cases_are_named(run: Run, world: World, tmp_path: Path, command: str) -> None:
    source = world.volumes
    if command == "encrypt":
        source = tmp_path / "slices"
        assert run("slice", world.volumes, "--out", source, "--size", 32, "--workers", 0).exit_code == 0
    key, other = tmp_path / "key.json", tmp_path / "other.json"
    settings = PerturbationSettings(radius=2, step_size=0.6, steps=2, reference_side=320)
    classes = sorted(PHANTOM_CLASSES)
    EncryptionKey.draw(classes, settings, seed=1).save(key)
    EncryptionKey.draw(classes, settings, seed=2).save(other)
    names = ("--identity", "remove", "--workers", 0, "--base", world.base)
    first = run(command, source, "--out", tmp_path / "out", "--key", key, *names)
    assert first.exit_code == 0, first.output
    result = run(command, source, "--out", tmp_path / "out", "--key", other, *names, "--private", tmp_path / "private")
    assert "was begun with another key" in the_line(result)
    assert "new names" not in result.output
    if command == "encrypt":
        own: Any = {"identity": "remove", "private": str(tmp_path / "private")}
        with pytest.raises(OutputError, match="was begun with another key"):
            EncryptedOutput(str(source), str(tmp_path / "out"), str(other), tiny_network(), **own)
    assert not (tmp_path / "private").exists()


def test_a_key_that_lacks_a_class_names_no_case(run: Run, world: World, tmp_path: Path) -> None:
    volumes = Path(shutil.copytree(world.volumes, tmp_path / "volumes"))
    case = next(path for path in sorted(volumes.glob("*/*")) if path.is_dir())
    shutil.copytree(case, volumes / "new class" / "case")
    words = ("--key", world.key, "--base", world.base, "--identity", "remove", "--workers", 0)
    for more in ((), ("--dry-run",)):
        result = run("encrypt-volume", volumes, "--out", tmp_path / "out", *words, *more)
        assert "the volumes have new class" in the_line(result)
        assert "new names" not in result.output
    sliced = run("slice-and-encrypt", volumes, "--out", tmp_path / "out", *words, "--size", 32)
    assert "the cases have" in the_line(sliced)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["volumes"]


OUTPUTS = (
    "demo --out OUT",
    "phantoms OUT",
    "check IN --sheet OUT",
    "slice-and-encrypt IN --out OUT",
    "slice-and-encrypt IN --save-config OUT",
    "slice IN --out OUT",
    "train-base IN --out OUT",
    "encrypt IN --key IN --base IN --out OUT",
    "encrypt IN --key IN --base IN --out IN --report OUT",
    "encrypt-volume IN --key IN --base IN --out OUT",
    "evaluate IN IN --out OUT",
    "audit IN IN --out OUT",
    "recommend IN --out OUT",
    "fidelity IN IN --out OUT",
    "attack recover IN IN --out OUT",
    "trace --files IN --keys IN --originals IN --out OUT",
    "trace queries IN --keys IN --base IN --out OUT",
    "reader-study build IN IN --out OUT",
)


@pytest.mark.parametrize("words", OUTPUTS)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(
    run: Run, tmp_path: Path, words: str
) -> None:
    """What is to be read does not exist, which nothing says."""
    (tmp_path / "file").write_text("")
    named = {"IN": tmp_path / "nothing", "OUT": tmp_path / "file" / "place"}
    result = run(*(named.get(word, word) for word in words.split()))
    assert f"cannot write {named['OUT']}: the folder it is to lie in is no folder" in the_line(result)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_output_that_a_command_would_have_anyway_is_not_looked_at(run: Run, tmp_path: Path) -> None:
    """A dry run writes nothing, and evaluate --trained has no folder of results."""
    (tmp_path / "file").write_text("")
    result = run("slice-and-encrypt", tmp_path / "nothing", "--out", tmp_path / "file" / "place", "--dry-run")
    assert "nothing" in the_line(result)
    assert "cannot write" not in result.output
