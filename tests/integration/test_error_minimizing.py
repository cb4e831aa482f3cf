# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The error-minimizing family through the commands: key, base network, encryption, verification."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES, write_phantoms
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.secret_encodings import secret_encodings
from monai_advenc.networks.training import load_checkpoint

COUNT, SIDE, RADIUS = 24, 32, 0.6


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, told apart by the side on which a bright disk lies."""
    root, generator = tmp_path_factory.mktemp("slices"), np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for name, column in (("left", 10), ("right", 22)):
        (root / name).mkdir()
        for number in range(COUNT):
            middle = 16 + generator.integers(-3, 4), column + generator.integers(-2, 3)
            pixels = generator.normal(90, 12, (SIDE, SIDE))
            pixels[(rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < 20] += 90
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{name}{number:02}.png")
    return root


@pytest.fixture(scope="module")
def key(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from typer.testing import CliRunner

    from monai_advenc.cli import app

    path = tmp_path_factory.mktemp("private") / "key.json"
    words = ["keygen", path, "--images", slices, "--profile", "error-minimizing", "--radius", RADIUS]
    result = CliRunner().invoke(app, [str(word) for word in [*words, "--radius-at", SIDE, "--steps", 6]])
    assert result.exit_code == 0, result.stderr
    return path


@pytest.fixture(scope="module")
def trained(slices: Path, key: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A base network of this family, and what its training printed."""
    from typer.testing import CliRunner

    from monai_advenc.cli import app

    base = tmp_path_factory.mktemp("trained") / "base.pt"
    words = ("train-base", slices, "--key", key, "--out", base, "--epochs", 6, "--network", "vgg_small")
    result = CliRunner().invoke(app, [str(word) for word in (*words, "--no-tracking")])
    assert result.exit_code == 0, result.stderr
    return base, result.stdout


@pytest.fixture(scope="module")
def base(trained: tuple[Path, str]) -> Path:
    return trained[0]


def test_images_are_moved_toward_their_own_class_within_the_radius(
    slices: Path, key: Path, trained: tuple[Path, str], tmp_path: Path, run: Callable[..., Any]
) -> None:
    (base, printed), out = trained, tmp_path / "shared"
    assert "perturbed by it" in printed
    assert load_checkpoint(base).family == "error-minimizing"
    assert run("encrypt", slices, "--key", key, "--base", base, "--out", out, "--format", "png8").exit_code == 0
    distances = []
    for original in sorted(slices.glob("*/*.png")):
        (encrypted,) = out.glob(f"**/{original.parent.name}/{original.name}")
        change = (np.asarray(Image.open(encrypted), float) - np.asarray(Image.open(original), float)) / 255
        distances.append(float(np.sqrt((change**2).sum())))
    assert len(distances) == 2 * COUNT
    assert min(distances) > 0
    assert max(distances) <= RADIUS + 1e-9
    verified = run("verify", out, "--key", key, "--base", base, "--json")
    assert verified.exit_code == 0, verified.stderr
    shared = b"".join(file.read_bytes() for file in out.rglob("*") if file.is_file())
    assert not [form for form in secret_encodings(EncryptionKey.load(key)) if form in shared]


def test_a_base_network_of_the_other_family_is_refused_before_anything_is_written(
    slices: Path, key: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    base, out = tmp_path / "base.pt", tmp_path / "shared"
    assert (
        run("train-base", slices, "--out", base, "--epochs", 4, "--network", "vgg_small", "--no-tracking").exit_code
        == 0
    )
    refused = run("encrypt", slices, "--key", key, "--base", base, "--out", out)
    assert refused.exit_code == 2
    assert "trained for targeted perturbations, the key is for error-minimizing ones" in refused.stderr
    assert "train-base --key" in refused.stderr
    assert not out.exists()


def test_a_strong_key_gets_a_base_network_of_its_own_kind(
    slices: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    strong, base, out = tmp_path / "key.json", tmp_path / "base.pt", tmp_path / "shared"
    drawing = ("--images", slices, "--profile", "strong", "--radius", RADIUS, "--radius-at", SIDE, "--steps", 4)
    assert run("keygen", strong, *drawing).exit_code == 0
    trained = run("train-base", slices, "--key", strong, "--out", base, "--epochs", 4, "--no-tracking")
    assert trained.exit_code == 0, trained.stderr
    checkpoint = load_checkpoint(base)
    assert checkpoint.name == "ensemble_small"
    assert checkpoint.notes["drawn_classes"] is True
    encrypted = run("encrypt", slices, "--key", strong, "--base", base, "--out", out, "--insist")
    assert encrypted.exit_code == 0, encrypted.stderr
    assert run("verify", out, "--key", strong, "--base", base).exit_code == 0
    usual = tmp_path / "usual.json"
    assert (
        run("keygen", usual, *[{"strong": "error-minimizing"}.get(str(word), word) for word in drawing]).exit_code == 0
    )
    refused = run("encrypt", slices, "--key", usual, "--base", base, "--out", tmp_path / "other")
    assert refused.exit_code == 2
    assert "trained for radius" in refused.stderr
    assert "grain" in refused.stderr


@pytest.mark.parametrize("command", ["train-base", "recommend"])
def test_another_network_than_the_profile_says_is_refused_before_any_work(
    command: str, slices: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    strong, out = tmp_path / "key.json", tmp_path / "out"
    assert run("keygen", strong, "--images", slices, "--profile", "strong").exit_code == 0
    drawn = ("--key", strong) if command == "train-base" else ("--profile", "strong")
    refused = run(command, slices, *drawn, "--network", "vgg_small", "--out", out)
    assert refused.exit_code == 2
    assert "asks for a base network ensemble_small, got --network vgg_small" in refused.stderr
    assert not out.exists()


def test_there_is_no_correspondence_to_recover_and_the_command_says_so(
    slices: Path, key: Path, base: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    out = tmp_path / "shared"
    assert run("encrypt", slices, "--key", key, "--base", base, "--out", out).exit_code == 0
    refused = run("attack", "recover", out, slices, "--key", key, "--out", tmp_path / "recovery")
    assert refused.exit_code == 2
    assert "no correspondence" in refused.stderr
    assert json.loads((out / "manifest.json").read_text())


@pytest.mark.slow
def test_slice_and_encrypt_trains_the_network_that_its_key_needs_and_goes_on_with_it(
    tmp_path: Path, run: Callable[..., Any]
) -> None:
    write_phantoms(tmp_path / "volumes", 20, seed=0, shape=(32, 32, 8))
    for name in sorted(PHANTOM_CLASSES)[2:]:
        shutil.rmtree(tmp_path / "volumes" / name)
    words = ["slice-and-encrypt", tmp_path / "volumes", "--out", tmp_path / "shared", "--profile", "error-minimizing"]
    words += ["--region", "body", "--radius", 4, "--steps", 4, "--epochs", 3, "--network", "vgg_small", "--no-evaluate"]
    first = run(*words)
    assert first.exit_code == 0, first.stderr
    assert load_checkpoint(tmp_path / "shared-private" / "base.pt").family == "error-minimizing"
    before = {file: file.read_bytes() for file in (tmp_path / "shared").rglob("*.png")}
    assert len([file for file in before if not file.stem.endswith(".mask")]) == 40
    assert run(*words).exit_code == 0
    assert {file: file.read_bytes() for file in before} == before


def test_all_pixels_get_a_warning_and_the_mask_is_refused(
    slices: Path, key: Path, base: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    encrypt = ["encrypt", slices, "--key", key, "--base", base, "--out", tmp_path / "shared"]
    warned = run(*encrypt, "--dry-run")
    assert "give --region body" in warned.stdout + warned.stderr
    refused = run(*encrypt, "--region", "mask")
    assert refused.exit_code == 2
    assert "expected the region all or body" in refused.stderr


def test_a_base_network_for_another_region_is_refused(
    slices: Path, key: Path, base: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    out = tmp_path / "shared"
    refused = run("encrypt", slices, "--key", key, "--base", base, "--out", out, "--region", "body")
    assert refused.exit_code == 2
    assert "trained for --region all without --full-radius" in refused.stderr
    assert not out.exists()


@pytest.mark.parametrize("words", [["--region", "body"], ["--full-radius"]])
def test_a_region_for_a_network_of_the_other_family_is_refused(
    words: list[str], slices: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    refused = run("train-base", slices, "--out", tmp_path / "base.pt", "--no-tracking", *words)
    assert refused.exit_code == 2
    assert "are for keys of the profile error-minimizing" in refused.stderr


def test_a_search_for_a_radius_trains_networks_of_this_family_and_takes_none(
    slices: Path, base: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    out = tmp_path / "recommendation"
    search = ["recommend", slices, "--out", out, "--profile", "error-minimizing"]
    refused = run(*search, "--base", base)
    assert refused.exit_code == 2
    assert "each error-minimizing key gets a base network of its own" in refused.stderr
    assert not out.exists()
    assert run(*search, "--dry-run").exit_code == 0


def test_verify_refuses_a_base_network_of_the_other_family_and_counts_no_targets_for_its_own(
    slices: Path, key: Path, base: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    other, out = tmp_path / "other.pt", tmp_path / "shared"
    brief = ["--epochs", 2, "--network", "vgg_small", "--no-tracking"]
    assert run("train-base", slices, "--out", other, *brief).exit_code == 0
    assert run("encrypt", slices, "--key", key, "--base", base, "--out", out).exit_code == 0
    refused = run("verify", out, "--key", key, "--base", other)
    assert refused.exit_code == 2
    assert "trained for targeted perturbations" in refused.stderr
    found = json.loads(run("verify", out, "--key", key, "--base", base, "--json").stdout)
    assert {effect["taken_for_target"] for effect in found["effect"].values()} == {None}
