"""The recovery attack from the command line: what it finds, what it writes, and what it never prints."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_advenc import TrainingSettings, recover_key
from monai_advenc.attackers.recovery.methods import RecoveryAttack
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.secret_encodings import secret_encodings
from monai_advenc.progress import SILENT

CLASSES = "abcde"
FAST = ("--epochs", 6, "--workers", 0, "--no-tracking")
SMALL_BASE = ("--network", "preresnet_small", "--epochs", 6, "--no-tracking")


def write_images(folder: Path, seed: int) -> None:
    """Noise with a bright bar, whose place is the class."""
    generator = torch.Generator().manual_seed(seed)
    for place, label in enumerate(CLASSES):
        (folder / label).mkdir(parents=True)
        for index in range(20):
            image = 0.3 * torch.rand(1, 32, 32, generator=generator) + 0.2
            image[:, 6 * place : 6 * place + 5] += 0.15
            (folder / label / f"{label}{index}.png").write_bytes(encode_image(image, "png8"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``own`` originals, the ``shared`` encrypted set, and the owner's ``key.json``."""
    from typer.testing import CliRunner

    from monai_advenc.cli import app

    root = tmp_path_factory.mktemp("attack")
    write_images(root / "originals", seed=0)
    write_images(root / "own", seed=1)
    key = ("--key", root / "key.json", "--base", root / "base.pt", "--workers", 0)
    for command in (
        [
            *(
                "keygen",
                root / "key.json",
                "--images",
                root / "originals",
                "--profile",
                "paper-basic",
                "--radius-at",
                32,
            ),
            *("--radius", 1.5, "--steps", 10, "--key-seed", 4),
        ],
        ("train-base", root / "originals", "--out", root / "base.pt", *SMALL_BASE),
        ("encrypt", root / "originals", "--out", root / "shared", *key),
    ):
        result = CliRunner().invoke(app, [str(word) for word in command], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return root


@pytest.fixture(scope="module")
def first_attack(shared: Path) -> tuple[Path, str]:
    """The folder of an attack that trained its networks, and what it printed."""
    from typer.testing import CliRunner

    from monai_advenc.cli import app

    out = shared / "recovery"
    command = ("attack", "recover", shared / "shared", shared / "own", "--out", out, "--combiner", "basic", *FAST)
    result = CliRunner().invoke(app, [str(word) for word in (*command, "--key", shared / "key.json")])
    assert result.exit_code == 0, result.output
    return out, result.output


def test_the_summary_counts_what_the_guess_holds_and_the_guess_is_kept_from_others(
    shared: Path, first_attack: tuple[Path, str]
) -> None:
    out, output = first_attack
    summary = json.loads((out / "summary.json").read_text())
    assert summary["tries"] == 5 * 4
    guess = json.loads((out / "guess.json").read_text())["targets"]
    truth = EncryptionKey.load(shared / "key.json")
    named = {
        name: [truth.classes[row[0]]] for name, row in zip(truth.classes, truth.correspondence.targets, strict=True)
    }
    assert sum(guess[name] == named[name] for name in CLASSES) == summary["in_place"]
    assert stat.S_IMODE((out / "guess.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    printed = output.encode() + (out / "summary.json").read_bytes()
    assert not [form for form in secret_encodings(truth) if form in printed]


def test_a_second_attack_takes_up_the_networks_of_the_first(
    shared: Path, first_attack: tuple[Path, str], run: Callable[..., Any], tmp_path: Path
) -> None:
    out = shutil.copytree(first_attack[0], tmp_path / "recovery")
    command = ("attack", "recover", shared / "shared", shared / "own", "--out", out, *FAST)
    written = {name: (out / name).stat().st_mtime_ns for name in ("learner.pt", "simulator.pt")}
    second = run(*command, "--method", "layout-unknown", "--targets", 1, "--json")
    assert second.exit_code == 0, second.output
    assert {name: (out / name).stat().st_mtime_ns for name in written} == written
    assert json.loads(second.stdout)["method"] == "layout-unknown"
    assert "classes" not in json.loads(second.stdout)  # Without the key nobody knows how much is right.
    from_python = recover_key(
        *(shared / "shared", str(shared / "own"), out),
        attack=RecoveryAttack(method="layout-unknown", num_targets=1),
        training=TrainingSettings(epochs=6, seed=2000),
        workers=0,
        progress=SILENT,
    )
    assert {"out": str(out), **from_python.as_dict()} == json.loads(second.stdout)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--combiner", "mixup-and-concat", "--method", "enumeration"), "use the separable attack"),
        (("--method", "layout-unknown", "--targets", "5"), "need at least 6 classes"),
    ],
)
def test_attacks_that_cannot_end_are_refused_in_one_line_before_anything_is_trained(
    shared: Path, run: Callable[..., Any], tmp_path: Path, extra: tuple[str, ...], message: str
) -> None:
    result = run("attack", "recover", shared / "shared", shared / "own", "--out", tmp_path / "out", *extra, *FAST)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("error:") == 1
    assert not (tmp_path / "out").exists()


def test_the_guess_never_goes_to_the_shared_folder(shared: Path, run: Callable[..., Any]) -> None:
    result = run("attack", "recover", shared / "shared", shared / "own", "--out", shared / "shared" / "r", *FAST)
    assert result.exit_code == 2
    assert "lies in the data set that is shared" in result.stderr
    assert not (shared / "shared" / "r").exists()


def test_the_key_of_another_data_set_is_refused(shared: Path, run: Callable[..., Any], tmp_path: Path) -> None:
    run("keygen", tmp_path / "other.json", "--images", shared / "originals")
    result = run(
        *("attack", "recover", shared / "shared", shared / "own", "--out", tmp_path / "out", *FAST),
        *("--key", tmp_path / "other.json"),
    )
    assert result.exit_code == 2
    assert "give the right key" in result.stderr
