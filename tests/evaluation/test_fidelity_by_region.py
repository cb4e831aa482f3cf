from __future__ import annotations

import csv
import json
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from monai_advenc.cli import app
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.errors import DatasetError, ImageError
from monai_advenc.evaluation.region_fidelity import average_regions, image_regions, measure_regions
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint
from monai_advenc.reader_study.model_observer import read_both
from monai_advenc.reader_study.statistics.paired_proportions import FourCells


def head() -> tuple[Tensor, Tensor]:
    """A bright disk with a brighter tumor in it, and the tumor's mask."""
    row, column = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    disk = (row - 24) ** 2 + (column - 24) ** 2 < 18**2
    tumor = (row - 20) ** 2 + (column - 28) ** 2 < 5**2
    image = 0.02 + 0.5 * disk + 0.3 * tumor + 0.01 * torch.sin(row) * torch.cos(column)
    return image[None].clamp(0, 1), tumor[None]


def test_regions_are_tumor_the_body_around_it_and_the_rest() -> None:
    image, mask = head()
    regions = image_regions(image, mask)
    assert list(regions) == ["image", "tumor", "body", "background"]
    together = sum(regions[name].astype(int) for name in ("tumor", "body", "background"))
    assert np.all(together == 1)
    assert regions["tumor"].sum() == int(mask.sum())
    assert list(image_regions(image, None)) == ["image", "body", "background"]
    assert list(image_regions(torch.zeros(1, 20, 20), None)) == ["image", "background"]


def test_a_tumor_beside_the_body_belongs_to_neither_body_nor_background() -> None:
    image, _ = head()
    image[image < 0.1] = 0
    mask = torch.zeros_like(image)
    mask[:, 1:4, 2:30] = 1
    regions = image_regions(image, mask)
    assert np.all(sum(regions[name].astype(int) for name in ("tumor", "body", "background")) == 1)


def test_next_to_no_change_is_as_far_as_none() -> None:
    original = torch.zeros(1, 32, 32)
    image = original.clone()
    image[0, 5, 5] = 1e-15
    changed, same = (measure_regions(each, original, image_regions(original, None)) for each in (image, original))
    assert changed["image"].psnr_db == same["image"].psnr_db


def test_the_whole_image_has_the_distances_that_its_manifest_states() -> None:
    original, mask = head()
    changed = (original + 0.02 * torch.randn(original.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    whole = measure_regions(changed, original, image_regions(original, mask))["image"]
    stated = measure_fidelity(changed[None], original[None])[0]
    assert whole.rms_gray_levels == pytest.approx(stated.rms_gray_levels)
    assert whole.psnr_db == pytest.approx(stated.psnr_db)
    # That of the manifest leaves out the rim, where the window reaches over the edge.
    assert whole.ssim == pytest.approx(stated.ssim, abs=0.05)


def test_a_change_in_the_tumor_shows_there_and_nowhere_else() -> None:
    original, mask = head()
    changed = torch.where(mask, original - 0.1, original)
    measured = measure_regions(changed, original, image_regions(original, mask))
    assert measured["tumor"].rms_gray_levels == pytest.approx(25.5, rel=1e-4)
    assert measured["tumor"].psnr_db == pytest.approx(20, rel=1e-4)
    assert measured["background"].rms_gray_levels == 0
    assert measured["tumor"].haarpsi < measured["background"].haarpsi
    averaged = average_regions([measured, measured], fmean)
    assert averaged["tumor"]["psnr_db"] == pytest.approx(20, rel=1e-4)
    with pytest.raises(ImageError, match="one shape"):
        measure_regions(changed[:, :40], original, {})


class Brightness(nn.Module):
    """Calls an image bright if its mean exceeds one half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(100.0))

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean(dim=(1, 2, 3))
        return self.scale * torch.stack([0.5 - mean, mean - 0.5], dim=1)


def test_an_observer_reads_originals_and_encrypted_images_into_the_papers_four_cells() -> None:
    def images(levels: list[float]) -> ImageSet:
        pixels = torch.tensor(levels)[:, None, None, None].expand(-1, 1, 8, 8).contiguous()
        return ImageSet(pixels, torch.tensor([0, 0, 1, 1]), ("a", "b", "c", "d"), ("dark", "bright"))

    reading = read_both(Brightness().eval(), images([0.2, 0.8, 0.9, 0.4]), images([0.2, 0.9, 0.1, 0.7]))
    assert reading.cells == FourCells(both_right=1, both_wrong=1, only_original_right=1, only_encrypted_right=1)
    assert reading.agreement.agreed == 0.5
    with pytest.raises(DatasetError, match="same images"):
        read_both(Brightness().eval(), images([0.2] * 4), images([0.2] * 4).subset([1, 0, 2, 3]))


def write_pairs(root: Path) -> list[str]:
    image, mask = head()
    generator = np.random.default_rng(0)
    for label in ("a", "b"):
        for kind, noise in (("originals", 0.0), ("encrypted", 0.01)):
            path = root / kind / label / f"{label}-1.png"
            path.parent.mkdir(parents=True)
            pixels = np.clip(image[0].numpy() + generator.normal(0, 1, (48, 48)) * noise, 0, 1)
            Image.fromarray(np.rint(pixels * 65535).astype(np.uint16)).save(path)
        Image.fromarray(mask[0].numpy()).convert("L").save(root / "originals" / label / f"{label}-1.mask.png")
    return [str(root / kind) for kind in ("originals", "encrypted")]


def test_the_command_writes_a_table_of_regions_and_asks_the_observer(tmp_path: Path) -> None:
    folders = write_pairs(tmp_path)
    observer = tmp_path / "observer.pt"
    with torch.random.fork_rng():
        save_checkpoint(observer, get_network("resnet_small", 2, 1, 32).eval(), "resnet_small", ["a", "b"], 1, 32)
    options = ["--out", str(tmp_path / "out"), "--observer", str(observer), "--device", "cpu", "--json"]
    result = CliRunner().invoke(app, ["fidelity", *folders, *options])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert set(summary["mean"]) == {"image", "tumor", "body", "background"}
    assert summary["min"]["tumor"]["haarpsi"] <= summary["mean"]["tumor"]["haarpsi"] < 1
    assert summary["observer"]["agreement"]["cases"] == 2
    with (tmp_path / "out" / "fidelity.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * 4
    assert CliRunner().invoke(app, ["fidelity", *folders, *options]).exit_code == 0
    other = CliRunner().invoke(app, ["fidelity", folders[0], folders[0], *options])
    assert other.exit_code == 2
    assert "measures of another data set" in other.output
    inside = CliRunner().invoke(app, ["fidelity", *folders, "--out", str(tmp_path / "encrypted" / "out")])
    assert inside.exit_code == 2
