"""``--json``: whatever fails, stdout is one object, and no reason is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from monai_advenc.cli import app
from monai_advenc.errors import AllFailedError, DatasetError, OutputError, remembering
from monai_advenc.sharing.original import Failure
from tests.integration.conftest import World

Run = Callable[..., Any]

FAST = ("--size", 32, "--workers", 0)


def commands_with_json(group: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_with_json(command, *names, name)
        elif any("--json" in parameter.opts for parameter in command.params):
            yield (*names, name), command


COMMANDS = dict(commands_with_json(typer.main.get_command(app)))


def required_words(command: Any, value: object) -> list[object]:
    """The arguments and options that a command asks for, all with one value."""
    words: list[object] = []
    for parameter in command.params:
        if parameter.required:
            words += [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]
    return words


def assert_error(result: Any) -> dict[str, Any]:
    assert result.exit_code == 2
    outcome: dict[str, Any] = json.loads(result.stdout)
    assert outcome["error"]["type"]
    assert outcome["error"]["message"] in " ".join(result.stderr.split())
    return outcome


def test_the_commands_are_found() -> None:
    assert {("slice",), ("attack", "recover"), ("reader-study", "score"), ("reproduce",)} <= set(COMMANDS)


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_every_command_ends_with_one_object_if_it_can_neither_read_nor_write(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    words = required_words(COMMANDS[names], "file/nothing")
    if words:
        assert_error(run(*names, *words, "--json"))
        assert_error(run(*names, "--json"))
    assert_error(run(*names, *words, "--json", "--no-such-option"))


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_an_interrupted_command_ends_with_one_object(
    run: Run, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_advenc.cli.console.Output.__init__", interrupt)
    result = run(*names, *required_words(COMMANDS[names], 5), "--json")
    # Some take no such value.
    assert (result.exit_code, json.loads(result.stdout)["error"]["type"]) in (
        (130, "Interrupted"),
        (2, "BadParameter"),
        (2, "DatasetError"),
    )


def test_reasons_of_cases_that_were_not_cut_are_told_if_something_else_fails_later(
    world: World, run: Run, tmp_path: Path
) -> None:
    bad = tmp_path / "volumes" / "meningioma" / "bad"
    bad.parent.parent.symlink_to(tmp_path / "real")
    for case in world.volumes.glob("*/*"):
        copy = tmp_path / "real" / case.parent.name / case.name
        copy.mkdir(parents=True)
        for file in case.iterdir():
            (copy / file.name).hardlink_to(file)
    bad.mkdir()
    (bad / "image.nii.gz").hardlink_to(next(world.volumes.glob("meningioma/*/image.nii.gz")))
    private = tmp_path / "private"
    (private / "slices").mkdir(parents=True)
    (private / "report.html").mkdir()
    words = ("slice-and-encrypt", tmp_path / "volumes", "--out", tmp_path / "out", "--private", private)
    secrets = ("--base", world.base, "--key", world.key)
    result = run(*words, *secrets, *FAST, "--keep-going", "--json")
    outcome = assert_error(result)
    assert "report.html" in outcome["error"]["message"]
    (failure,) = outcome["failures"]
    assert failure["id"] == "bad"
    assert "no mask next to" in failure["message"]
    assert "no mask next to" in " ".join(result.stderr.split())


def test_an_error_keeps_the_reasons_of_what_failed_before_once() -> None:
    first, second = Failure("a", "broken"), Failure("b", "gone")
    with pytest.raises(OutputError) as full, remembering([first]), remembering([second]):
        raise OutputError("no space left")
    assert full.value.failures == (("b", "gone"), ("a", "broken"))
    with pytest.raises(AllFailedError) as every, remembering([first, second]):
        raise AllFailedError("nothing", [("a", "broken"), ("b", "gone")])
    assert every.value.failures == (("a", "broken"), ("b", "gone"))
    assert DatasetError("x").failures == ()
