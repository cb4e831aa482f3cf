"""Algorithms that remove noise."""

from __future__ import annotations

import pytest
import torch

from monai_advenc.attackers.countermeasures.attacker import ImageFilter
from monai_advenc.attackers.countermeasures.denoising import NonLocalMeans, TotalVariation, WaveletShrinkage

FILTERS = [NonLocalMeans(), TotalVariation(0.05), WaveletShrinkage()]


def steps(channels: int = 1) -> torch.Tensor:
    """Two images of flat squares, ``(2, C, 33, 40)``."""
    image = torch.full((2, channels, 33, 40), 0.3)
    image[:, :, 8:24, 8:30] = 0.7
    return image


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("image_filter", FILTERS)
def test_noise_is_reduced_by_half_and_the_edge_stays(image_filter: ImageFilter, channels: int) -> None:
    clean = steps(channels)
    noisy = clean + 0.04 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    after = image_filter(noisy)
    assert after.shape == clean.shape
    assert (after - clean).square().mean() < (noisy - clean).square().mean() / 2
    assert (after[:, :, 16, 12:28].mean() - after[:, :, 16, 1:5].mean()) > 0.35


@pytest.mark.parametrize("image_filter", FILTERS)
def test_an_image_is_denoised_alone(image_filter: ImageFilter) -> None:
    images = torch.rand(3, 1, 20, 24, generator=torch.Generator().manual_seed(1))
    assert torch.equal(image_filter(images)[1:2], image_filter(images[1:2]))


@pytest.mark.parametrize("sides", [(32, 32), (33, 40), (17, 31)])
def test_wavelets_without_a_threshold_change_nothing(sides: tuple[int, int]) -> None:
    images = torch.rand(2, 1, *sides, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(WaveletShrinkage(times_noise=0)(images), images, atol=1e-5)
