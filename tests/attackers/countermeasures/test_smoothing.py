"""Filters that remove fine detail."""

from __future__ import annotations

import pytest
import torch

from monai_advenc.attackers.countermeasures.attacker import ImageFilter
from monai_advenc.attackers.countermeasures.background import BodyOnly
from monai_advenc.attackers.countermeasures.smoothing import GaussianBlur, Median, SmallerAndBack


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_gaussian_blur_spreads_a_point_by_its_sigma(sigma: float) -> None:
    image = torch.zeros(1, 1, 41, 41)
    image[0, 0, 20, 20] = 1
    spread = GaussianBlur(sigma)(image)[0, 0].double()
    away = torch.arange(41).double() - 20
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    # Sampled and cut off, so not exact.
    assert float((spread.sum(dim=0) * away**2).sum()) ** 0.5 == pytest.approx(sigma, rel=0.03)


def test_a_median_removes_single_bright_pixels() -> None:
    image = torch.full((1, 1, 12, 12), 0.4)
    image[0, 0, 3, 3] = image[0, 0, 8, 7] = 1
    assert torch.equal(Median(3)(image), torch.full((1, 1, 12, 12), 0.4))


def test_halving_the_size_removes_a_checkerboard_and_keeps_a_slope() -> None:
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    checkerboard, slope = (rows + columns) % 2, columns / 31
    after = SmallerAndBack(0.5)(torch.stack([checkerboard.float(), slope])[:, None])
    assert (after[0] - 0.5).abs().max() < 0.05
    assert (after[1, 0] - slope)[:, 3:-3].abs().max() < 0.01


def test_masking_keeps_the_body_and_blackens_all_else() -> None:
    image = 0.02 * torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    image[..., 8:24, 8:24] = torch.linspace(0.2, 0.8, 16)
    image[..., 2, 2] = 0.3
    # Soft tissue of every brightness: Otsu's threshold lies anywhere in a gap.
    image[..., 12:20, 12:20] = torch.linspace(0.03, 0.8, 64).reshape(8, 8)
    after = BodyOnly()(image)
    assert torch.equal(after[..., 8:24, 8:24], image[..., 8:24, 8:24])
    assert after.count_nonzero() == 16 * 16


@pytest.mark.parametrize("image_filter", [GaussianBlur(1), Median(3), SmallerAndBack(0.5), BodyOnly()])
def test_an_image_is_filtered_alone(image_filter: ImageFilter) -> None:
    images = torch.rand(3, 1, 20, 24, generator=torch.Generator().manual_seed(1))
    together = image_filter(images)
    assert together.shape == images.shape
    assert torch.equal(together[1:2], image_filter(images[1:2]))
