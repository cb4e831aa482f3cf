"""audit --self-check: images as a recipient gets them, after another program has re-encoded them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from monai_advenc.attackers.audit import self_check as module
from monai_advenc.attackers.audit.self_check import SelfCheck, self_check, survived, with_noise
from monai_advenc.data.images.exports import jpeg
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.writing import encode_image
from monai_advenc.data.manifest import Manifest
from monai_advenc.errors import DatasetError
from monai_advenc.evaluation.protection import Minutes
from monai_advenc.networks.training import TrainingSettings
from monai_advenc.progress import SILENT
from tests.attackers.countermeasures.planted_sets import waves, with_patterns

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short trainings whose time is not estimated."""
    monkeypatch.setattr(module, "estimated_minutes", lambda jobs, workers: Minutes(0.1, 0.1))
    monkeypatch.setattr(module, "_settings", lambda images: TrainingSettings(epochs=8, batch_size=16, seed=1000))
    return None


def write(
    folder: Path, images: Tensor, labels: Tensor, change: Callable[[Tensor], Tensor] = lambda image: image
) -> Path:
    for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        place = folder / "abc"[label]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"i{row}.png").write_bytes(encode_image(change(image), "png8"))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Originals, the same with a planted pattern under a manifest, and real images."""
    from typer.testing import CliRunner

    from monai_advenc.cli import app

    root = tmp_path_factory.mktemp("self-check")
    clean = waves(120, 0)
    write(root / "originals", clean.images, clean.labels)
    write(root / "planted", with_patterns(clean).images, clean.labels)
    write(root / "real", waves(60, 1).images, waves(60, 1).labels)
    private = ("--key", root / "key.json", "--base", root / "base.pt")
    options = ("--workers", 0, "--format", "png8", "--precision", "fp32")
    brief = ("--network", "preresnet_small", "--epochs", 1, "--no-tracking")
    for command in (
        ("keygen", root / "key.json", "--images", root / "originals", "--radius", 3, "--radius-at", 32, "--steps", 2),
        ("train-base", root / "originals", "--out", root / "base.pt", *brief),
        ("encrypt", root / "originals", "--out", root / "shared", *private, *options),
    ):
        result = CliRunner().invoke(app, [str(word) for word in command], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    # A change that is known to mislead takes the place of the one that this little network made.
    for record in Manifest.load(root / "shared").images:
        written = root / "shared" / record.files[0].path
        written.write_bytes((root / "planted" / record.label / f"{record.id}.png").read_bytes())
    return root


def checked(folders: Path, received: Path, **options: Any) -> SelfCheck:
    return self_check(folders / "originals", folders / "shared", received, progress=SILENT, **options)


def test_images_as_they_were_written_work(folders: Path) -> None:
    found = checked(folders, folders / "planted", test_originals=folders / "real")
    assert found.works
    assert found.survived == pytest.approx(1, abs=0.01)
    assert found.accuracy["originals"] > 0.55
    assert found.accuracy["noise"] > found.accuracy["received"] + 0.1
    assert found.sentence.startswith("It works on these files")


@pytest.mark.slow  # Three trainings.
def test_images_from_which_the_change_was_washed_out_do_not_work(folders: Path, run: Run, tmp_path: Path) -> None:
    clean = waves(120, 0)
    washed = write(tmp_path / "washed", clean.images, clean.labels, jpeg(95))
    done = run(
        *("audit", folders / "originals", folders / "shared", "--self-check", washed, "--json"),
        *("--test-originals", folders / "real"),
    )
    assert done.exit_code == 3
    told = json.loads(done.stdout)
    assert told["works"] is False
    assert told["survived"] < 0.1
    assert set(told) >= {"accuracy", "interval", "bar", "chance", "images", "test_images", "warnings"}


@pytest.mark.parametrize("given", [pytest.param("shared", marks=pytest.mark.slow), "planted"])
def test_test_images_that_are_encrypted_too_are_found_by_manifest_or_pixels(folders: Path, given: str) -> None:
    found = checked(folders, folders / "planted", test_originals=folders / given)
    assert found.works is None
    assert "encrypted too" in found.sentence


@pytest.mark.slow  # Three trainings.
def test_a_fifth_is_kept_aside_where_no_test_images_are_given(folders: Path) -> None:
    found = checked(folders, folders / "planted")
    assert (found.images, found.test_images) == (96, 24)


def test_other_images_are_refused_in_one_line(folders: Path) -> None:
    with pytest.raises(DatasetError, match="missing"):
        checked(folders, write(folders / "others", waves(150, 3).images, waves(150, 3).labels))


def test_noise_is_as_long_as_the_change_and_what_survived_is_the_share_that_is_left() -> None:
    clean = waves(30, 0)
    encrypted = replace(clean, images=clean.images + 0.05 * torch.randn(clean.images.shape))
    noisy = with_noise(clean, encrypted)
    lengths = [(each.images - clean.images).flatten(1).norm(dim=1) for each in (noisy, encrypted)]
    assert torch.allclose(lengths[0], lengths[1], rtol=0.02)
    half = replace(clean, images=(clean.images + encrypted.images) / 2)
    assert survived(half, encrypted, clean) == pytest.approx(0.5, abs=1e-4)
    assert abs(survived(noisy, encrypted, clean)) < 0.1


def test_what_is_written_can_be_read_as_a_set(folders: Path) -> None:
    images = load_image_set(find_images(folders / "planted"), None, gray=True)
    assert len(images) == 120
