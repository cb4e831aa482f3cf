"""What a steward reads about a region that may change, in the summary, the manifest and the report."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_advenc.data.images.reading import read_image
from monai_advenc.data.manifest import Manifest
from monai_advenc.data.records import VolumeRecord
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.sharing.stated_change import LARGEST_GRAY_LEVELS
from tests.integration.conftest import World
from tests.integration.test_where_the_change_lies import kept_records

Run = Callable[..., Any]
SIDE, LESION = 48, 4
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images with a lesion of 16 pixels each, a key with the paper's change per pixel, and a base network."""
    root = tmp_path_factory.mktemp("lesions")
    generator = np.random.default_rng(1)
    for name in CLASSES:
        (root / "images" / name).mkdir(parents=True)
        for index in range(2):
            pixels = generator.integers(8000, 50000, (SIDE, SIDE)).astype(np.uint16)
            mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
            mask[20 : 20 + LESION, 22 : 22 + LESION] = 255
            Image.fromarray(pixels).save(root / "images" / name / f"{name}{index}.png")
            Image.fromarray(mask).save(root / "images" / name / f"{name}{index}.mask.png")
    save_checkpoint(
        root / "base.pt", get_network("preresnet_small", 3, 1, SIDE, seed=0).eval(), "preresnet_small", CLASSES, 1, SIDE
    )
    settings = PerturbationSettings(radius=2, step_size=1, steps=6, reference_side=320)
    EncryptionKey.draw(CLASSES, settings, combiner="basic", seed=1).save(root / "key.json")
    return root


def encrypt(run: Run, lesions: Path, out: Path, *options: object) -> Any:
    files = ("--key", lesions / "key.json", "--base", lesions / "base.pt", "--workers", 0)
    files = (*files, "--private", out.with_name(f"{out.name}-private"))
    return run("encrypt", lesions / "images", "--out", out, *files, "--precision", "fp32", *options)


def change_of(lesions: Path, out: Path, name: str) -> np.ndarray:
    """The change of an image's pixels in gray levels of 255, by plain numpy."""
    before = np.asarray(Image.open(lesions / "images" / name[0] / f"{name}.png")).astype(np.float64) / 65535
    after = np.asarray(Image.open(out / name[0] / f"{name}.png")).astype(np.float64) / 65535
    change: np.ndarray = 255 * (after - before)
    return change


@pytest.mark.parametrize("full", [False, True])
def test_the_change_of_a_small_lesion_is_stated_and_warned_of(
    run: Run, lesions: Path, tmp_path: Path, full: bool
) -> None:
    more = ("--full-radius", "--report", tmp_path / "report.html") if full else ()
    options = ("--region", "mask", *more)
    result = encrypt(run, lesions, tmp_path / "out", *options, "--json")
    assert result.exit_code == 0, result.output
    records = kept_records(tmp_path / "out-private")
    for record in records:
        change = change_of(lesions, tmp_path / "out", record.id)
        inside = change[20 : 20 + LESION, 22 : 22 + LESION]
        assert record.changeable is not None
        assert record.changeable.pixels == LESION**2
        assert record.changeable.rms_gray_levels == pytest.approx(np.sqrt(np.square(inside).mean()), rel=1e-3)
        assert record.changeable.linf == pytest.approx(np.abs(inside).max() / 255, rel=1e-3)
        assert record.changeable.psnr_db == pytest.approx(-10 * np.log10(np.square(inside / 255).mean()), abs=1e-2)
        share = 1 if full else LESION / SIDE
        assert record.radius == pytest.approx(2 * SIDE / 320 * share)
    budget = json.loads(result.stdout)["budget"]
    rms = [record.changeable.rms_gray_levels for record in records if record.changeable]
    assert budget["changeable"]["rms_gray_levels"]["max"] == pytest.approx(max(rms), abs=1e-5)
    line = next(line for line in result.stderr.splitlines() if line.startswith("Encrypted 6 images"))
    largest = max(255 * (record.linf or 0) for record in records)
    assert f"over the pixels that may change PSNR {budget['changeable']['psnr_db']['mean']:.1f} dB on average" in line
    assert f"{np.mean(rms):.2f} gray levels, {largest:.1f} at most" in line
    paper = 255 * 2 / 320  # The key's change per pixel, 1.59.
    if full:
        # All of the radius on 16 of 2304 pixels.
        assert max(rms) > 5 * paper
        assert (
            "Warning: in 6 of 6 images the pixels that may change moved by more than 2.3 gray levels" in result.stderr
        )
        assert "leave out --full-radius" in result.stderr
        page = (tmp_path / "report.html").read_text()
        assert f"Only a part of the pixels may change; over these: {np.mean(rms):.2f} gray levels, PSNR" in page
    else:
        assert max(rms) <= paper * 1.001
        assert min(rms) > 0.3 * paper
        assert "moved by more than" not in result.stderr
    checked = run("verify", tmp_path / "out", "--originals", lesions / "images")
    assert checked.exit_code == 0, checked.output


OF_AN_IMAGE = {"id", "label", "shape", "files", "source_tag", "precision"}
DISTANCES = {"radius", "l2", "linf", "rms_gray_levels", "psnr_db", "ssim"}


@pytest.mark.parametrize("region", ["mask", "all", "body"])
def test_nothing_that_is_shared_of_one_image_tells_the_area_of_its_mask(
    run: Run, lesions: Path, tmp_path: Path, region: str
) -> None:
    out = tmp_path / "out"
    options = ("--region", region, "--json", *(() if region == "mask" else ("--no-masks",)))
    first = encrypt(run, lesions, out, *options)
    assert first.exit_code == 0, first.output
    content = json.loads((out / "manifest.json").read_text())
    known = OF_AN_IMAGE if region == "mask" else OF_AN_IMAGE | DISTANCES
    assert [set(image) for image in content["images"]] == [known] * 6
    assert content["budget"]["energy"]["inside_tumor"] is not None, "means over the data set are stated"
    assert run("verify", out).exit_code == 0
    # A run that goes on measures again what it needs, and ends with the same bytes.
    before = (out / "manifest.json").read_bytes()
    (out / "a" / "a0.png").unlink()
    again = encrypt(run, lesions, out, *options)
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["budget"] == json.loads(first.stdout)["budget"]
    assert (out / "manifest.json").read_bytes() == before


def test_the_journal_of_a_killed_run_tells_no_area_either(run: Run, lesions: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(lesions / "images", tmp_path / "images"))
    whole = encrypt(run, lesions, tmp_path / "whole", "--region", "mask")
    assert whole.exit_code == 0, whole.output
    (images / "b" / "b1.mask.png").unlink()
    files = ("--key", lesions / "key.json", "--base", lesions / "base.pt", "--workers", 0, "--precision", "fp32")
    words = ("encrypt", images, "--out", tmp_path / "out", *files, "--region", "mask")
    assert run(*words).exit_code == 2
    journal = (tmp_path / "out" / ".journal.jsonl").read_text().splitlines()[1:]
    assert journal
    for line in journal:
        assert {name for name, value in json.loads(line).items() if value is not None} == OF_AN_IMAGE
    shutil.copy(lesions / "images" / "b" / "b1.mask.png", images / "b")
    assert run(*words).exit_code == 0
    written = (tmp_path / "out" / "manifest.json").read_bytes()
    assert written == (tmp_path / "whole" / "manifest.json").read_bytes()


def test_a_manifest_that_lists_areas_still_counts_and_loses_them_when_its_run_goes_on(
    run: Run, lesions: Path, tmp_path: Path
) -> None:
    done = encrypt(run, lesions, tmp_path / "out", "--region", "mask", "--json")
    path = tmp_path / "out" / "manifest.json"
    content, new = json.loads(path.read_text()), path.read_bytes()
    content["budget"] = json.loads(done.stdout)["budget"]
    records = kept_records(tmp_path / "out-private")
    content["images"] = [record.to_values() for record in records]
    path.write_text(json.dumps(content))
    assert Manifest.load(tmp_path / "out").images == tuple(records)
    assert run("verify", tmp_path / "out", "--originals", lesions / "images").exit_code == 0
    content["images"][0]["changeable"]["linf"] *= 3
    path.write_text(json.dumps(content))
    assert "the stated budget is not that of the images listed" in run("verify", tmp_path / "out").output
    path.write_text(json.dumps({**content, "images": [record.to_values() for record in records]}))
    assert encrypt(run, lesions, tmp_path / "out", "--region", "mask").exit_code == 0
    assert path.read_bytes() == new


def test_the_level_of_the_warning_is_the_largest_change_of_the_paper() -> None:
    # Section 3.3: an L2 distance of 0.5 over 3 x 32 x 32 values.
    assert pytest.approx(255 * 0.5 / math.sqrt(3072)) == LARGEST_GRAY_LEVELS
    assert LARGEST_GRAY_LEVELS > 255 * 2 / 320  # Section 5.


def test_a_manifest_of_whole_images_is_as_it_was(run: Run, lesions: Path, tmp_path: Path) -> None:
    result = encrypt(run, lesions, tmp_path / "out")
    assert "changeable" not in (tmp_path / "out" / "manifest.json").read_text()
    assert "over the pixels that may change" not in result.stderr + result.stdout
    scaled, full = tmp_path / "scaled", tmp_path / "full"
    encrypt(run, lesions, scaled, "--region", "body")
    encrypt(run, lesions, full, "--region", "body", "--full-radius")
    content = json.loads((full / "manifest.json").read_text())
    # As version 0.1 wrote it.
    del content["budget"]["changeable"]
    (full / "manifest.json").write_text(json.dumps(content))
    assert Manifest.load(full).budget.changeable is None
    assert run("verify", full, "--originals", lesions / "images").exit_code == 0
    # It is continued with the radius that it had, and not with another.
    again = encrypt(run, lesions, full, "--region", "body", "--full-radius")
    assert again.exit_code == 0, again.output
    other = encrypt(run, lesions, full, "--region", "body")
    assert other.exit_code == 2
    assert "other options" in other.stderr
    # Another change for every image, as both keep the key's change per pixel.
    assert all(
        np.any(change_of(lesions, scaled, f"{name}0") != change_of(lesions, full, f"{name}0")) for name in CLASSES
    )


def test_slices_of_volumes_state_the_change_of_their_pixels_too(world: World, run: Run, tmp_path: Path) -> None:
    options = ("--key", world.key, "--base", world.base, "--workers", 0, "--region", "mask")
    slices = []
    for name, more in (("full", ("--full-radius",)), ("scaled", ())):
        kept = ("--private", tmp_path / f"{name}-private")
        done = run("encrypt-volume", world.volumes, "--out", tmp_path / name, *options, *kept, *more, "--json")
        assert done.exit_code == 0, done.output
        assert "over the pixels that may change" in done.stderr
        lines = (tmp_path / f"{name}-private" / "distances.jsonl").read_text().splitlines()
        slices = [each for line in lines for each in VolumeRecord.from_json(line).slices]
        share = [
            1 if name == "full" else math.sqrt(each.changeable.pixels / 32**2) for each in slices if each.changeable
        ]
        assert [each.radius for each in slices] == pytest.approx([0.2 * each for each in share])
        assert run("verify", tmp_path / name, "--originals", world.volumes).exit_code == 0
    assert all(
        each.changeable is not None and each.changeable.rms_gray_levels <= 255 * 2 / 320 * 1.001 for each in slices
    )


def test_the_changed_pixels_are_those_of_the_mask(run: Run, lesions: Path, tmp_path: Path) -> None:
    encrypt(run, lesions, tmp_path / "out", "--region", "mask", "--format", "nifti")
    for path in (lesions / "images").rglob("*[0-9].png"):
        change = read_image(tmp_path / "out" / path.parent.name / f"{path.stem}.nii.gz") - read_image(path)
        change[:, 20 : 20 + LESION, 22 : 22 + LESION] = 0
        assert not change.any()
