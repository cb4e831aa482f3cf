"""Options from a file, the file that a run leaves, and the same run again from it a year later."""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from monai_advenc.cli import app
from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES, write_phantoms
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.secret_encodings import secret_encodings
from tests.integration.conftest import World

Run = Callable[..., Any]

COMMANDS = ("slice-and-encrypt", "encrypt", "evaluate", "audit")


def write(path: Path, **options: object) -> Path:
    path.write_text("".join(f"{name.replace('_', '-')}: {value}\n" for name, value in options.items()))
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def error_of(result: Any) -> str:
    assert result.exit_code == 2, result.output
    [line] = [line for line in result.stderr.splitlines() if "error:" in line]
    return str(line)


def options_of(world: World, out: Path) -> dict[str, object]:
    places = {"volumes": world.volumes, "out": out, "base": world.base}
    return {
        **places,
        "size": 32,
        "workers": 0,
        "evaluate": "false",
        "radius": 2,
        "steps": 3,
        "format": "[png16, nifti]",
    }


def test_a_file_gives_the_options_and_the_command_line_goes_before(world: World, run: Run, tmp_path: Path) -> None:
    config = write(tmp_path / "run.yaml", **options_of(world, tmp_path / "out"))
    done = run("slice-and-encrypt", "--config", config, "--steps", 2, "--format", "png8")
    assert done.exit_code == 0, done.output
    key = EncryptionKey.load(tmp_path / "out-private" / "key.json")
    assert key.perturbation.steps == 2
    assert key.perturbation.radius == 2
    assert {path.suffix for path in (tmp_path / "out").rglob("*.*")} == {".png", ".json"}


def test_a_year_later_the_file_of_a_run_gives_the_same_bytes(world: World, run: Run, tmp_path: Path) -> None:
    config = write(tmp_path / "run.yaml", **options_of(world, tmp_path / "out"), key_seed=5, recipient="Site B")
    assert run("slice-and-encrypt", "--config", config).exit_code == 0
    first, private = files_of(tmp_path / "out"), tmp_path / "out-private"
    # What is kept: the key, the base network, the originals and the file of the run.
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("key.json", "run.yaml"):
        shutil.copy2(private / name, kept)
    saved = yaml.safe_load((kept / "run.yaml").read_text())
    assert saved["key"] == str(private / "key.json")
    assert "recipient" not in saved  # The key holds it.
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(private)
    again = run("slice-and-encrypt", "--config", kept / "run.yaml", "--key", kept / "key.json")
    assert again.exit_code == 0, again.output
    assert files_of(tmp_path / "out") == first


def test_the_file_of_a_run_continues_it_where_it_is(world: World, run: Run, tmp_path: Path) -> None:
    config = write(tmp_path / "run.yaml", **options_of(world, tmp_path / "out"))
    assert run("slice-and-encrypt", "--config", config).exit_code == 0
    first, saved = files_of(tmp_path / "out"), (tmp_path / "out-private" / "run.yaml").read_text()
    next((tmp_path / "out").rglob("*.png")).unlink()
    again = run("slice-and-encrypt", "--config", tmp_path / "out-private" / "run.yaml")
    assert again.exit_code == 0, again.output
    assert files_of(tmp_path / "out") == first
    assert yaml.safe_load((tmp_path / "out-private" / "run.yaml").read_text()) == yaml.safe_load(saved)


@pytest.mark.parametrize("ball", [{"noise": 1}, {"noise": 0.5, "radius": 4}, {"psnr_at_least": 38}])
def test_the_file_of_a_run_with_another_word_for_the_radius_does_it_again(
    ball: dict[str, object], world: World, run: Run, tmp_path: Path
) -> None:
    options = options_of(world, tmp_path / "out") | ball
    if "radius" not in ball:
        del options["radius"]
    config = write(tmp_path / "run.yaml", **options, radius_at=256)
    assert run("slice-and-encrypt", "--config", config).exit_code == 0
    first = files_of(tmp_path / "out")
    for again in (tmp_path / "out-private" / "run.yaml", config):
        shutil.rmtree(tmp_path / "out")
        done = run("slice-and-encrypt", "--config", again)
        assert done.exit_code == 0, done.output
        assert files_of(tmp_path / "out") == first
    other = run("slice-and-encrypt", "--config", config, "--psnr-at-least" if "radius" not in ball else "--radius", 30)
    assert "does not agree with the key" in error_of(other)


@pytest.mark.slow(reason="it trains a base network")
def test_the_file_of_a_run_names_the_network_that_it_trained(run: Run, tmp_path: Path) -> None:
    write_phantoms(tmp_path / "volumes", 20, seed=0, shape=(32, 32, 8))
    for label in PHANTOM_CLASSES[2:]:
        shutil.rmtree(tmp_path / "volumes" / label)
    words = (tmp_path / "volumes", "--out", tmp_path / "out", "--size", 32, "--epochs", 1, "--workers", 0, "--steps", 2)
    assert run("slice-and-encrypt", *words, "--no-evaluate").exit_code == 0
    first, private = files_of(tmp_path / "out"), tmp_path / "out-private"
    saved = yaml.safe_load((private / "run.yaml").read_text())
    assert saved["base"] == str(private / "base.pt")
    assert not {"epochs", "steps"} & set(saved)
    (tmp_path / "out").rename(tmp_path / "first")
    again = run("slice-and-encrypt", "--config", private / "run.yaml", "--private", tmp_path / "new-private")
    assert again.exit_code == 0, again.output
    assert files_of(tmp_path / "out") == first


def test_encrypt_evaluate_and_audit_leave_the_file_of_their_run(world: World, run: Run, tmp_path: Path) -> None:
    assert run("slice", world.volumes, "--out", tmp_path / "slices", "--size", 32, "--workers", 0).exit_code == 0
    words = ("--key", world.key, "--base", world.base, "--private", tmp_path / "private", "--workers", 0)
    done = run("encrypt", tmp_path / "slices", "--out", tmp_path / "out", *words)
    assert done.exit_code == 0, done.output
    first = files_of(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    [saved] = (tmp_path / "private").glob("run*.yaml")
    assert run("encrypt", "--config", saved).exit_code == 0
    assert files_of(tmp_path / "out") == first


def test_no_file_has_the_key_or_what_is_as_good(world: World, run: Run, tmp_path: Path) -> None:
    config = write(tmp_path / "in.yaml", **options_of(world, tmp_path / "out"), key_seed=987654)
    done = run("slice-and-encrypt", "--config", config, "--save-config", tmp_path / "saved.yaml")
    assert done.exit_code == 0, done.output
    key = EncryptionKey.load(tmp_path / "out-private" / "key.json")
    for path in (tmp_path / "saved.yaml", tmp_path / "out-private" / "run.yaml"):
        content = path.read_bytes()
        assert b"987654" not in content
        assert not any(secret in content for secret in secret_encodings(key))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list((tmp_path / "out").rglob("*.yaml"))


def test_the_file_of_the_quickstart_is_taken(world: World, run: Run, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text()
    [block] = re.findall(r"^```yaml\n(command:.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "run.yaml").write_text(block.replace("volumes/", str(world.volumes)))
    words = ("--config", tmp_path / "run.yaml", "--base", world.base, "--out", tmp_path / "out", "--dry-run")
    assert run("slice-and-encrypt", *words).exit_code == 0


@pytest.mark.parametrize(
    "value", ["null", "~", "yes", "1_000", "0x10", "# a", "a: b", "[a]", "Zürich", "1e3", "x" * 300]
)
def test_a_value_comes_back_from_a_file_as_it_was(run: Run, tmp_path: Path, value: str) -> None:
    words = ("encrypt", tmp_path / value, "--out", "out", "--key", "k", "--base", "b", "--dry-run")
    first = error_of(run(*words))
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({"images": str(tmp_path / value), "ray-address": value}, allow_unicode=True))
    again = error_of(run("encrypt", "--config", config, *words[2:]))
    assert again == first


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_has_its_name_in_a_file(run: Run, command: str, tmp_path: Path) -> None:
    parser: Any = get_command(app)
    for option in parser.commands[command].params:
        name = max(option.opts, key=len).removeprefix("--")
        if name in ("config", "save-config", "help"):
            continue
        misspelled = write(tmp_path / "run.yaml", **{f"{name}x": 1})
        assert f"did you mean '{name.replace('_', '-')}'?" in error_of(run(command, "--config", misspelled))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("radiuss: 4", "has 'radiuss', which is no option of slice-and-encrypt; did you mean 'radius'?"),
        ("zebra: 4", "has 'zebra', which is no option of slice-and-encrypt; leave it out"),
        ("config: other.yaml", "has 'config'"),
        ("size: large", "'--size': "),
        ("size: 2.5", "'2.5' (from --config)"),
        ("size: [1, 2]", "has a list for 'size'; expected one value"),
        ("size: {a: 1}", "has no option in line 1"),
        ("size: 32\nsize: 64", "has 'size' twice"),
        (
            "full_radius: true\nfull-radius: false",
            "has 'full_radius' and 'full-radius', which are one option; keep one",
        ),
        ("--keep_going: true\nkeep-going: true", "has '--keep_going' and 'keep-going', which are one option"),
        ("command: audit", "is for the command audit, not for slice-and-encrypt"),
        ("- size", "holds no options; expected lines such as"),
        ("size", "holds no options"),
        ("a: [", "is no YAML in line"),
        ("size: !!python/object:os.system 3\nzebra: 1", "zebra"),
        ("plane: up", "'up' is not one of"),
    ],
)
def test_what_a_file_cannot_say_is_refused_in_one_line(run: Run, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    assert message in error_of(run("slice-and-encrypt", "volumes", "--config", tmp_path / "run.yaml"))


def test_a_wrong_value_says_that_the_file_has_it(run: Run, tmp_path: Path) -> None:
    config = write(tmp_path / "run.yaml", size="large")
    assert "(from --config)" in error_of(run("slice-and-encrypt", "volumes", "--config", config))
    assert "(from --config)" not in error_of(run("slice-and-encrypt", "volumes", "--size", "large"))


def test_files_that_cannot_be_read_or_written_are_refused_before_any_work(
    world: World, run: Run, tmp_path: Path
) -> None:
    assert "cannot read" in error_of(run("audit", "--config", tmp_path / "missing.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "no text" in error_of(run("audit", "--config", tmp_path / "binary.yaml"))
    words = ("slice-and-encrypt", world.volumes, "--base", world.base, "--out", tmp_path / "out")
    assert "will be shared" in error_of(run(*words, "--save-config", tmp_path / "out" / "run.yaml"))
    (tmp_path / "there.yaml").touch()
    assert "exists already" in error_of(run(*words, "--save-config", tmp_path / "there.yaml"))
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_only_the_file_that_was_asked_for(world: World, run: Run, tmp_path: Path) -> None:
    words = (world.volumes, "--base", world.base, "--out", tmp_path / "größer, kleiner", "--size", 32, "--dry-run")
    assert run("slice-and-encrypt", *words, "--save-config", tmp_path / "run.yaml").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]
    saved = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert saved == {
        "command": "slice-and-encrypt",
        "volumes": str(world.volumes),
        "out": str(tmp_path / "größer, kleiner"),
        "base": str(world.base),
        "size": 32,
        "insist": True,  # The tests set it by its variable.
    }
    defaults = re.findall(r"^# ([a-z-]+): ", (tmp_path / "run.yaml").read_text(), re.MULTILINE)
    assert {"region", "plane", "radius", "precision"} <= set(defaults)
