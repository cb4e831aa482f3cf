"""The shares of the change inside body and tumor stand in manifest, summary and report, and a warning comes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_advenc.data.images.folder import find_images
from monai_advenc.data.manifest import Manifest
from monai_advenc.data.records import ImageRecord, VolumeRecord
from monai_advenc.encryption.energy import lost_outside, measure_energy
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.evaluation.report import encryption_report
from monai_advenc.evaluation.report.encryption_report import change_maps_of
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.integration.conftest import World

Run = Callable[..., Any]
SIDE, CLASSES = 32, ("a", "b", "c")
ROWS, COLUMNS = slice(10, 22), slice(8, 20)
"""A head of 144 pixels, an eighth of the image; the tumor is a quarter of it."""


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six bright squares on dark noise, tumor masks, a key and a base network."""
    root = tmp_path_factory.mktemp("heads")
    generator = np.random.default_rng(2)
    for name in CLASSES:
        (root / "images" / name).mkdir(parents=True)
        for index in range(2):
            pixels = generator.integers(500, 1500, (SIDE, SIDE))
            pixels[ROWS, COLUMNS] = generator.integers(15000, 50000, (12, 12))
            mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
            mask[10:16, 8:14] = 255
            Image.fromarray(pixels.astype(np.uint16)).save(root / "images" / name / f"{name}{index}.png")
            Image.fromarray(mask).save(root / "images" / name / f"{name}{index}.mask.png")
    base = get_network("preresnet_small", 3, 1, SIDE, seed=0).eval()
    save_checkpoint(root / "base.pt", base, "preresnet_small", CLASSES, 1, SIDE)
    settings = PerturbationSettings(radius=1, step_size=0.4, steps=4)
    EncryptionKey.draw(CLASSES, settings, combiner="basic", seed=1).save(root / "key.json")
    return root


def encrypt(run: Run, heads: Path, out: Path, *options: object) -> Any:
    files = ("--key", heads / "key.json", "--base", heads / "base.pt", "--insist", "--workers", 0)
    files = (*files, "--private", out.with_name(f"{out.name}-private"))
    done = run("encrypt", heads / "images", "--out", out, *files, "--precision", "fp32", "--json", *options)
    assert done.exit_code == 0, done.output
    return done


def kept_records(private: Path) -> list[ImageRecord]:
    """The records with all distances, which stay with the owner."""
    return [ImageRecord.from_json(line) for line in (private / "distances.jsonl").read_text().splitlines()]


def change_of(heads: Path, out: Path, name: str) -> np.ndarray:
    before, after = (
        np.asarray(Image.open(folder / name[0] / f"{name}.png")) / 65535 for folder in (heads / "images", out)
    )
    change: np.ndarray = after - before
    return change


def test_the_shares_are_stated_and_a_change_of_the_background_is_warned_of(
    run: Run, heads: Path, tmp_path: Path
) -> None:
    out, page = tmp_path / "out", tmp_path / "report.html"
    done = encrypt(run, heads, out, "--region", "all", "--report", page)
    records = kept_records(out.with_name("out-private"))
    squares = {record.id: np.square(change_of(heads, out, record.id)) for record in records}
    bodies = [each[ROWS, COLUMNS].sum() / each.sum() for each in squares.values()]
    tumors = [each[10:16, 8:14].sum() / each.sum() for each in squares.values()]
    for record, inside_body, inside_tumor in zip(records, bodies, tumors, strict=True):
        assert record.energy is not None
        assert record.energy.inside_body == pytest.approx(inside_body, abs=1e-4)
        assert record.energy.inside_tumor == pytest.approx(inside_tumor, abs=1e-4)
    stated = json.loads(done.stdout)["budget"]["energy"]
    assert stated == {
        "inside_body": pytest.approx(np.mean(bodies), abs=1e-4),
        "inside_tumor": pytest.approx(np.mean(tumors), abs=1e-4),
    }
    assert np.mean(bodies) < 0.7
    told = f"Of the squared change {np.mean(bodies):.0%} lies inside the body and {np.mean(tumors):.0%} lies inside"
    assert told in done.stderr
    warning = f"{1 - np.mean(bodies):.0%} of the squared change lies outside the body, where a recipient can crop"
    assert f"Warning: {warning}" in done.stderr
    text = page.read_text()
    assert warning in text
    assert text.index("Where the change lies") > text.index("Size of the change")


def test_a_change_of_the_body_alone_is_not_warned_of(run: Run, heads: Path, tmp_path: Path) -> None:
    done = encrypt(run, heads, tmp_path / "out", "--region", "body")
    assert "Of the squared change 100% lies inside the body" in done.stderr
    assert "lies outside the body" not in done.stderr
    assert lost_outside(Manifest.load(tmp_path / "out").budget) is None


def test_the_heat_map_of_a_class_is_the_mean_change_of_its_images(run: Run, heads: Path, tmp_path: Path) -> None:
    encrypt(run, heads, tmp_path / "out")
    maps = change_maps_of(find_images(heads / "images"), tmp_path / "out", Manifest.load(tmp_path / "out"))
    assert [(each.title, each.images) for each in maps] == [(name, 2) for name in CLASSES]
    for each in maps:
        changes = [np.abs(change_of(heads, tmp_path / "out", f"{each.title}{index}")) for index in range(2)]
        assert each.mean.numpy() == pytest.approx(np.mean(changes, axis=0), abs=1e-6)
    page = encryption_report(find_images(heads / "images"), tmp_path / "out")
    assert page.count("Mean absolute change of the images of") == len(CLASSES)


def test_manifests_of_earlier_versions_may_state_no_shares(run: Run, heads: Path, tmp_path: Path) -> None:
    encrypt(run, heads, tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    content = json.loads(path.read_text())
    stated = content["budget"].pop("energy")
    path.write_text(json.dumps(content))
    assert Manifest.load(tmp_path / "out").budget.energy is None
    assert run("verify", tmp_path / "out").exit_code == 0
    done = encrypt(run, heads, tmp_path / "out")
    assert json.loads(done.stdout)["budget"]["energy"] == stated, "a run that goes on measures them"


def test_slices_of_volumes_state_their_shares_too(world: World, run: Run, tmp_path: Path) -> None:
    options = (
        "--key",
        world.key,
        "--base",
        world.base,
        "--insist",
        "--workers",
        0,
        "--private",
        tmp_path / "out-private",
    )
    done = run("encrypt-volume", world.volumes, "--out", tmp_path / "out", *options, "--json")
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "out-private" / "distances.jsonl").read_text().splitlines()
    for each in (each for line in lines for each in VolumeRecord.from_json(line).slices):
        assert each.energy is not None
        assert each.energy.inside_body is not None
        assert 0 < each.energy.inside_tumor < 1
    assert "Of the squared change" in done.stderr


def test_photographs_and_images_without_contrast_have_no_body() -> None:
    torch.manual_seed(0)
    original, change = torch.rand(3, 16, 16), 0.01 * torch.rand(3, 16, 16)
    half = torch.zeros(1, 16, 16)
    half[..., :8] = 1
    found = measure_energy(original + change, original, half)
    share = float(change[..., :8].double().square().sum() / change.double().square().sum())
    assert found is not None
    assert found.inside_body is None
    assert found.inside_tumor == pytest.approx(share, abs=1e-4)
    constant = measure_energy(torch.full((1, 16, 16), 0.5) + change[:1], torch.full((1, 16, 16), 0.5))
    assert constant is not None
    assert constant.inside_body is None
    assert measure_energy(original, original) is None
