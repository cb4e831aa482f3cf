"""A MedMNIST file goes through the commands that take images, as a folder would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_advenc.data.images.folder import find_images
from tests.data.images.medmnist_files import write_medmnist

Run = Callable[..., Any]

QUICK = ("--workers", 0)


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with training and test images, both encrypted, and the owner's key and base network."""
    from typer.testing import CliRunner

    from monai_advenc.cli import app

    root = tmp_path_factory.mktemp("medmnist")
    data = root / "pneumoniamnist.npz"
    write_medmnist(data, counts={"train": 40, "val": 4, "test": 24})
    private = ("--key", root / "key.json", "--base", root / "base.pt", "--format", "png8", "--precision", "fp32")
    tested = ("--test-originals", data / "test", "--no-tracking")
    for command in (
        ("keygen", root / "key.json", "--images", data, "--steps", 4, "--radius", 1, "--radius-at", 28),
        ("train-base", data, "--out", root / "base.pt", "--epochs", 4, *tested),
        ("encrypt", data, "--out", root / "shared", *private, *QUICK),
        ("encrypt", data / "test", "--out", root / "shared-test", *private, *QUICK),
    ):
        result = CliRunner().invoke(app, [str(word) for word in command], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return root


def on_test_images(owner: Path) -> tuple[object, ...]:
    tests = ("--test-originals", owner / "pneumoniamnist.npz" / "test", "--test-encrypted", owner / "shared-test")
    return (*tests, "--no-tracking", "--accept-unprotected", "--json")


def test_every_image_of_a_file_is_encrypted_under_its_class(owner: Path, run: Run) -> None:
    originals, shared = find_images(owner / "pneumoniamnist.npz"), find_images(owner / "shared")
    assert {(file.id, file.label) for file in shared.files} == {(file.id, file.label) for file in originals.files}
    assert shared.classes == ("normal", "pneumonia")
    done = run("verify", owner / "shared", "--originals", owner / "pneumoniamnist.npz", "--json")
    assert done.exit_code == 0, done.stderr


def test_a_file_is_checked_like_a_folder(owner: Path, run: Run) -> None:
    done = run("check", owner / "pneumoniamnist.npz", "--no-sheet", "--json", "--workers", 0)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["classes"] == {"normal": 20, "pneumonia": 20}


def test_evaluate_takes_a_file(owner: Path, run: Run, tmp_path: Path) -> None:
    names = (owner / "pneumoniamnist.npz", owner / "shared", "--out", tmp_path / "out", "--victims", "vgg_small")
    done = run("evaluate", *names, *on_test_images(owner), *QUICK, "--epochs", 4)
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verdict"] in ("protected", "weak", "none", "not measured")
    assert told == json.loads((tmp_path / "out" / "summary.json").read_text())


@pytest.mark.slow
def test_audit_takes_a_file(owner: Path, run: Run, tmp_path: Path) -> None:
    names = (owner / "pneumoniamnist.npz", owner / "shared", "--out", tmp_path / "out", "--budget", 2)
    done = run("audit", *names, *on_test_images(owner), *QUICK, "--epochs", 4, "--suite", "quick")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert "usual" in {row["attacker"] for row in told["attackers"]}


def test_recommend_plans_for_a_file(owner: Path, run: Run, tmp_path: Path) -> None:
    done = run("recommend", owner / "pneumoniamnist.npz", "--out", tmp_path / "out", "--dry-run", "--json", *QUICK)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["radii"]
