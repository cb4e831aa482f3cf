"""A user's way from slices that are not protected to slices that are, by the advice that the commands print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor

from monai_advenc.data.images.writing import encode_image

Run = Callable[..., Any]

SIDE, CLASSES, CASES = 16, 5, 80

TRAINING = ("--epochs", 8, "--no-tracking")
ENCRYPTING = ("--format", "png16", "--precision", "fp32", "--workers", 0)


def draw_slice(label: int, generator: torch.Generator, contrast: float = 0.1) -> Tensor:
    """A faint bright band, whose height is the class, under noise: fine patterns are as telling as the band."""
    height = torch.linspace(0, 1, SIDE).view(1, SIDE, 1) - (label + 1) / (CLASSES + 1)
    band = torch.exp(-((height / 0.07) ** 2))
    return (0.4 + contrast * (band + torch.randn(1, SIDE, SIDE, generator=generator))).clamp(0, 1)


def write_images(folder: Path, cases: int, draw: Callable[[int], Tensor]) -> Path:
    for label in range(CLASSES):
        (folder / f"class {label}").mkdir(parents=True)
        for case in range(cases):
            (folder / f"class {label}" / f"{label} {case}.png").write_bytes(encode_image(draw(label), "png16"))
    return folder


@pytest.fixture(autouse=True)
def _nobody_insists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONAI_ADVENC_INSIST")


def test_a_base_at_chance_is_refused(run: Run, tmp_path: Path) -> None:
    """Images that are all the same teach no network anything, so that its accuracy is chance on any processor."""
    alike = write_images(tmp_path / "alike", 20, lambda _: torch.full((1, SIDE, SIDE), 0.4))
    trained = run("train-base", alike, "--out", tmp_path / "base.pt", "--epochs", 1, "--no-tracking")
    assert "Careful: always naming the commonest class has an accuracy of 20%" in trained.output
    assert run("keygen", tmp_path / "key.json", "--images", alike).exit_code == 0
    words = ("encrypt", alike, "--out", tmp_path / "shared", "--key", tmp_path / "key.json")
    refused = run(*words, "--base", tmp_path / "base.pt", *ENCRYPTING)
    assert refused.exit_code == 2
    assert "has learned nothing: its accuracy is 20% on 10 images" in refused.stderr
    assert "train it longer (train-base --epochs)" in refused.stderr
    assert not (tmp_path / "shared").exists()


def test_the_advice_leads_from_a_set_that_is_not_protected_to_one_that_is(run: Run, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    slices = write_images(tmp_path / "slices", CASES, lambda label: draw_slice(label, generator))
    base = tmp_path / "base.pt"
    assert run("train-base", slices, "--out", base, "--network", "vgg_small", *TRAINING).exit_code == 0

    def encrypt_and_evaluate(name: str, *drawing: object) -> Any:
        shared, key = tmp_path / name, tmp_path / f"{name}.json"
        few_steps = ("--schedule", "fast", "--steps", 4, "--key-seed", 2)
        assert run("keygen", key, "--images", slices, *few_steps, *drawing).exit_code == 0
        encrypted = run("encrypt", slices, "--out", shared, "--key", key, "--base", base, *ENCRYPTING)
        assert encrypted.exit_code == 0, encrypted.output
        assert "Verdict: protection not measured." in encrypted.stdout
        evaluation = ("--out", tmp_path / f"{name}-evaluation", "--test-share", 0.5, "--workers", 0)
        return run("evaluate", slices, shared, *evaluation, *TRAINING)

    first = encrypt_and_evaluate("first")
    assert first.exit_code == 3, first.output
    assert first.stdout.splitlines()[-1].startswith("Warning: Verdict: not protected."), "it stands last on a console"
    assert "Warning: Verdict: not protected." in first.stdout
    assert "write another --out with a larger --radius" in first.stdout
    followed = encrypt_and_evaluate("second", "--radius", 2, "--radius-at", SIDE)
    assert followed.exit_code == 0, followed.output
    assert "Verdict: protected against training as usual." in followed.stdout
    found = json.loads((tmp_path / "second-evaluation" / "summary.json").read_text())
    assert found["verdict"] == "protected"
    details = found["verdict_details"]
    assert details["clean"] > 0.9, "or nothing would follow from it"
    assert details["interval"][1] < (details["clean"] + 0.2) / 2


def write_volumes(folder: Path, contrast: float = 0.1) -> Path:
    """Cases of three slices, the middle one with the mask; a dark and a bright border fix the range of values."""
    generator = torch.Generator().manual_seed(0)
    for label in range(CLASSES):
        for case in range(CASES):
            place = folder / f"class {label}" / f"case {label} {case}"
            place.mkdir(parents=True)
            image = draw_slice(label, generator, contrast)[0]
            image[:, :1], image[:, -1:] = 0, 1
            voxels = image.T[:, :, None].expand(-1, -1, 3) * 1000
            mask = torch.zeros(SIDE, SIDE, 3)
            mask[6:10, 6:10, 1] = 1
            for name, values in (("image", voxels), ("seg", mask)):
                nifti = nibabel.Nifti1Image(values.numpy().astype(np.int16), np.diag([1.0, 1, 3, 1]))
                nibabel.save(nifti, place / f"{name}.nii.gz")
    return folder


CUTTING = ("--size", SIDE, "--format", "png16", "--schedule", "fast", "--steps", 5, "--key-seed", 2, "--workers", 2)


@pytest.mark.slow
def test_volumes_end_protected_by_the_advice_that_slice_and_encrypt_prints(run: Run, tmp_path: Path) -> None:
    volumes = write_volumes(tmp_path / "volumes")
    first = run("slice-and-encrypt", volumes, "--out", tmp_path / "first", *CUTTING)
    assert first.exit_code == 3, first.output
    assert "Warning: Verdict: not protected." in first.stdout
    assert "write another --out with a larger --radius" in first.stdout
    assert json.loads((tmp_path / "first-private" / "verdict.json").read_text())["verdict"] == "none"
    followed = run("slice-and-encrypt", volumes, "--out", tmp_path / "second", *CUTTING, "--radius", 40)
    assert followed.exit_code == 0, followed.output
    assert "Verdict: protected against training as usual." in followed.stdout
    assert json.loads((tmp_path / "second-private" / "verdict.json").read_text())["verdict"] == "protected"
    page = (tmp_path / "second-private" / "report.html").read_text()
    assert page.index("Protected against training as usual") < page.index("What people see")
    private = tmp_path / "second-private"
    words = ("verify", tmp_path / "second", "--base", private / "base.pt", "--key", private / "key.json", "--survival")
    assert "Verdict: protected against training as usual." in run(*words).stdout


@pytest.mark.slow
def test_volumes_end_protected_by_the_radius_that_is_recommended_for_them(run: Run, tmp_path: Path) -> None:
    """Their findings are as faint as a change that people do not see, so that one protects them."""
    volumes = write_volumes(tmp_path / "volumes", contrast=0.05)
    first = run("slice-and-encrypt", volumes, "--out", tmp_path / "first", *CUTTING)
    assert first.exit_code in (0, 3), first.output
    assert "Warning: Verdict:" in first.stdout
    assert "monai-advenc recommend searches the smallest" in first.stdout
    followed = run("slice-and-encrypt", volumes, "--out", tmp_path / "second", *CUTTING, "--radius", "recommended")
    assert followed.exit_code == 0, followed.output
    assert "Verdict: protected against training as usual." in followed.stdout
    assert json.loads((tmp_path / "second-private" / "verdict.json").read_text())["verdict"] == "protected"
    manifest = json.loads((tmp_path / "second" / "manifest.json").read_text())
    assert 32 <= manifest["budget"]["psnr_db"]["min"] <= manifest["budget"]["psnr_db"]["max"] < 45
