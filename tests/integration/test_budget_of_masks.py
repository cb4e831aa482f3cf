"""With --region mask the manifest gives no area away, and verify still finds what was forged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from monai_advenc.cli import app
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.integration.conftest import World

Run = Callable[..., Any]
SIDE, CLASSES = 32, ("a", "b", "c")


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images with tumors of 16 to 196 pixels, encrypted there alone into ``out``."""
    root = tmp_path_factory.mktemp("masks")
    generator = np.random.default_rng(1)
    for number, name in enumerate(f"{label}{index}" for label in CLASSES for index in range(2)):
        (root / "images" / name[0]).mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(30, 200, (SIDE, SIDE)).astype(np.uint8)
        mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
        mask[8 : 12 + 2 * number, 8 : 12 + 2 * number] = 255
        Image.fromarray(pixels).save(root / "images" / name[0] / f"{name}.png")
        Image.fromarray(mask).save(root / "images" / name[0] / f"{name}.mask.png")
    base = get_network("preresnet_small", 3, 1, SIDE, seed=0).eval()
    save_checkpoint(root / "base.pt", base, "preresnet_small", CLASSES, 1, SIDE)
    settings = PerturbationSettings(radius=2, step_size=1, steps=4, reference_side=SIDE)
    EncryptionKey.draw(CLASSES, settings, combiner="basic", seed=1).save(root / "key.json")
    files = ["--out", root / "out", "--key", root / "key.json", "--base", root / "base.pt", "--workers", 0]
    command = ["encrypt", root / "images", *files, "--region", "mask", "--format", "png8"]
    assert CliRunner().invoke(app, [str(each) for each in command]).exit_code == 0
    return root


@pytest.fixture
def forged(masks: Path, tmp_path: Path) -> Path:
    """A copy of the data set to change."""
    import shutil

    return Path(shutil.copytree(masks / "out", tmp_path / "out"))


def numbers_in(values: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(values, dict):
        for name, value in values.items():
            yield from numbers_in(value, f"{path}.{name}")
    elif isinstance(values, float):
        yield path, values


def change(folder: Path, how: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    how(content)
    (folder / "manifest.json").write_text(json.dumps(content))


def problems_of(run: Run, folder: Path, originals: Path) -> list[str]:
    result = run("verify", folder, "--originals", originals, "--json")
    found = [f"{each['id']}: {each['message']}" for each in json.loads(result.stdout)["problems"]]
    assert result.exit_code == (2 if found else 0)
    return found


def test_no_two_stated_distances_give_an_area(masks: Path) -> None:
    budget = json.loads((masks / "out" / "manifest.json").read_text())["budget"]
    assert set(budget) == {"norm", "l2", "rms_gray_levels", "psnr_db", "ssim", "energy"}
    # A quotient of an L2 distance and a change per pixel is the root of a number of pixels.
    stated = dict(numbers_in(budget))
    for name, length in stated.items():
        for other, per_pixel in stated.items():
            if ".l2." in name and ".rms" in other and name.split(".")[-1] == other.split(".")[-1]:
                assert (255 * length / per_pixel) ** 2 == pytest.approx(SIDE**2, rel=1e-3)


def test_intact_masks_verify(run: Run, masks: Path) -> None:
    assert problems_of(run, masks / "out", masks / "images") == []


@pytest.mark.parametrize("value", [99.0, 30.0, float("nan")])
@pytest.mark.parametrize("name", ["l2", "rms_gray_levels", "psnr_db", "ssim"])
def test_a_forged_budget_is_found(run: Run, masks: Path, forged: Path, name: str, value: float) -> None:
    change(forged, lambda content: content["budget"].update({name: dict.fromkeys(content["budget"][name], value)}))
    assert any(f"of {name} over the images is" in each for each in problems_of(run, forged, masks / "images"))


def test_an_exchanged_image_is_found(run: Run, masks: Path, forged: Path) -> None:
    def exchange(content: dict[str, Any]) -> None:
        (file,) = content["images"][0]["files"]
        path = forged / file["path"]
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
        file["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()

    change(forged, exchange)
    found = problems_of(run, forged, masks / "images")
    before = 2.0 * np.asarray(Image.open(masks / "images" / "a" / "a0.png")) - 255
    assert any(each.startswith("a0: is farther from its original (") for each in found)
    stated = float(found[0].split("(")[1].split(")")[0])
    assert stated == pytest.approx(np.linalg.norm(before) / 255, rel=0.05)
    # One original is enough to find it.
    for path in (masks / "images").rglob("*.png"):
        if path.name.startswith("a0") or path.name in ("b0.png", "c0.png"):
            (forged.parent / "some" / path.parent.name).mkdir(parents=True, exist_ok=True)
            (forged.parent / "some" / path.parent.name / path.name).write_bytes(path.read_bytes())
    assert any("a0: is farther" in each for each in problems_of(run, forged, forged.parent / "some"))


def test_slices_of_volumes_are_measured_too(world: World, run: Run, tmp_path: Path) -> None:
    files = ("--key", world.key, "--base", world.base, "--workers", 0)
    out = tmp_path / "out"
    assert run("encrypt-volume", world.volumes, "--out", out, *files, "--region", "mask").exit_code == 0
    assert problems_of(run, out, world.volumes) == []
    assert "changeable" not in json.loads((out / "manifest.json").read_text())["budget"]
    change(out, lambda content: content["budget"]["l2"].update(max=0.001))
    found = problems_of(run, out, world.volumes)
    assert any("is farther from its original (" in each and ": slice " in each for each in found)
    assert any("the max of l2 over the slices is" in each for each in found)
