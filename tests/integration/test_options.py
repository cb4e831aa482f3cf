"""Options say the library's words, and --help says which there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from typer.main import get_command

from monai_advenc.acceleration.prepare import Precision
from monai_advenc.attackers.audit.suites import SUITES
from monai_advenc.attackers.recovery.methods import LAYOUTS, RecoveryAttack
from monai_advenc.cli import app
from monai_advenc.cli.options import choices, key
from monai_advenc.data.dicom.identity.rule import IDENTITY_CHOICES
from monai_advenc.data.images.writing import SLICE_FORMATS
from monai_advenc.data.phantoms.volume import DIFFICULTIES
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.plane import PlaneChoice
from monai_advenc.encryption import profiles
from monai_advenc.encryption.regions import REGIONS
from monai_advenc.experiments.paper.preset import PRESETS
from monai_advenc.settings import ScheduleName
from monai_advenc.sharing.options import SLICE_CHOICES


def words_of(model: type[BaseModel], field: str) -> tuple[Any, ...]:
    return get_args(model.model_fields[field].annotation)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (choices.Profile, get_args(profiles.Profile)),
        (choices.Schedule, get_args(ScheduleName)),
        (choices.Region, tuple(REGIONS)),
        (choices.Precision, get_args(Precision)),
        (choices.Identity, IDENTITY_CHOICES),
        (choices.PlaneChoice, get_args(PlaneChoice)),
        (choices.Fit, words_of(SliceSettings, "fit")),
        (choices.SliceFormat, tuple(name for name in SLICE_FORMATS if name != "dicom")),
        (choices.SliceChoice, SLICE_CHOICES),
        (choices.Method, words_of(RecoveryAttack, "method")),
        (choices.KnownCombiner, tuple(LAYOUTS)),
        (choices.Preset, tuple(PRESETS)),
        (choices.Suite, tuple(SUITES)),
        (choices.PhantomDifficulty, tuple(DIFFICULTIES)),
    ],
)
def test_an_option_takes_the_words_of_the_library(option: Any, words: tuple[str, ...]) -> None:
    assert get_args(option) == words


def test_an_image_can_be_written_in_every_format_of_the_library() -> None:
    assert [each.value for each in choices.FileFormat] == list(SLICE_FORMATS)


def test_a_key_is_drawn_alike_on_the_command_line_and_from_python() -> None:
    defaults = profiles.KeyOptions()
    assert (defaults.radius, defaults.radius_at) == (key.RADIUS, key.RADIUS_AT)
    assert profiles.draw_key(("a", "b", "c"), seed=3) == profiles.draw_key(
        ("a", "b", "c"), **dict(profiles.KeyOptions(seed=3))
    )


COMMANDS = (
    "slice-and-encrypt",
    "slice",
    "encrypt",
    "encrypt-volume",
    "keygen",
    "train-base",
    "verify",
    "evaluate",
    "recommend",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_which_words_there_are_and_which_is_the_default(run: Callable[..., Any], command: str) -> None:
    text = "".join(run(command, "--help").output.split())
    parser: Any = get_command(app)
    for option in parser.commands[command].params:
        assert not option.opts[0].startswith("--") or option.opts[0] in text
        words = getattr(getattr(option, "type", None), "choices", None)
        assert words is None or "|".join(str(getattr(word, "value", word)) for word in words) in text
    if command == "slice-and-encrypt":
        assert "all|body|mask:" in text
        assert "[acquired]" in text


def every_command(group: Any, *words: str) -> Iterator[tuple[str, ...]]:
    yield words
    for name, command in getattr(group, "commands", {}).items():
        yield from every_command(command, *words, name)


@pytest.mark.parametrize("words", list(every_command(get_command(app)))[1:], ids=" ".join)
def test_help_names_limits_in_words(run: Callable[..., Any], words: tuple[str, ...]) -> None:
    told = run(*words, "--help").output
    assert not re.search(r"[<>]=|[<>]\d| range>|\[\]|; \]|\[default:", told)
    assert "╭" not in told, "typer's boxes show its own forms"


def test_two_limits_of_a_number_are_told(run: Callable[..., Any]) -> None:
    assert "[5; 2 to 5]" in run("phantoms", "--help").output
    assert "[60]" in run("phantoms", "--help").output
    assert "0.01 to 0.9]" in run("train-base", "--help").output
    assert "[0.0; -0.5 to 0.5]" in run("reader-study", "simulate", "--help").output
    assert "[(all)]" not in run("reader-study", "build", "--help").output


def test_the_help_of_the_main_command_fits_two_screens(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("slice-and-encrypt", "--help").output.splitlines()
    assert len(lines) <= 2 * 50
    assert max(map(len, lines)) <= 80
    groups = [line.rstrip(":") for line in lines if line and not line.startswith((" ", "Usage"))]
    assert groups == [
        *("Arguments", "Options that most people need", "What is written", "Key", "Slicing", "Base network"),
        *("Verdict", "Speed and machines", "Options"),
    ]
    main = lines[lines.index("Options that most people need:") + 1 : lines.index("What is written:")]
    assert sum(line.startswith("  --") for line in main) == 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("slice-and-encrypt", "v", "--profile", "best"), "'best' is not one of 'default', 'error-minimizing'"),
        (("keygen", "k", "--schedule", "cosine"), "'cosine' is not one of 'paper', 'fast', 'adaptive'"),
        (("encrypt", "i", "--format", "gif"), "'gif' is not one of 'nifti', 'png16', 'png8', 'dicom'"),
    ],
)
def test_another_word_is_refused_in_one_line(run: Callable[..., Any], words: tuple[str, ...], message: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
