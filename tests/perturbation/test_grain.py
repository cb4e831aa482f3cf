"""Grain: steps change structures within a band of sizes, inside the same ball, image by image."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor

from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.grain import Grain, blurred
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from tests.conftest import tiny_network

FINE = Grain(finest=0.7, coarsest=1.4)
PLAIN = PerturbationSettings(radius=0.5, step_size=0.2, steps=4, augmentation=Augmentation())
FINE_STEPS = PLAIN.model_copy(update={"grain": FINE})


@given(st.floats(0.3, 6), st.integers(5, 20), st.integers(5, 20))
def test_the_blur_is_that_of_scipy(sigma: float, height: int, width: int) -> None:
    images = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    reach = math.ceil(4 * sigma)
    for image, found in zip(images, blurred(images, sigma), strict=True):
        expected = gaussian_filter(image[0].numpy(), sigma, mode="nearest", radius=reach)
        torch.testing.assert_close(found[0], torch.from_numpy(expected))


def test_noise_keeps_the_band_and_loses_what_is_finer_and_coarser() -> None:
    noise = torch.randn(8, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    # Cycles in a pixel: the band lies between them.
    coarse, within, fine = ((0, 0.03), (0.12, 0.25), (0.45, 0.71))
    before, after = power(noise), power(FINE.of(noise))
    kept = {band: float(after[of(band)].sum() / before[of(band)].sum()) for band in (coarse, within, fine)}
    assert kept[within] > 0.05
    assert kept[coarse] < kept[within] / 20
    assert kept[fine] < kept[within] / 10


def power(images: Tensor) -> Tensor:
    spectrum: Tensor = torch.fft.fft2(images[:, 0]).abs().square().mean(dim=0)
    return spectrum


def of(band: tuple[float, float]) -> Tensor:
    frequency = torch.fft.fftfreq(64)
    radius = (frequency[:, None] ** 2 + frequency[None] ** 2).sqrt()
    return (radius >= band[0]) & (radius < band[1])


def test_what_does_not_vary_has_no_grain() -> None:
    assert FINE.of(torch.full((1, 2, 9, 9), 0.3)).abs().max() < 1e-7


def test_a_row_is_the_same_alone_and_among_others() -> None:
    gradients = torch.randn(5, 3, 33, 17)
    assert torch.equal(FINE.of(gradients)[2], FINE.of(gradients[2:3])[0])


@pytest.mark.parametrize(
    "band", [{"finest": 1, "coarsest": 1}, {"finest": -1, "coarsest": 1}, {"finest": 0, "coarsest": 0.2}]
)
def test_what_is_no_band_is_refused(band: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=r"finest|coarsest"):
        Grain(**band)


def test_the_sign_of_a_gradient_has_no_grain() -> None:
    with pytest.raises(SettingsError, match="drop grain"):
        PerturbationSettings(norm="linf", radius=0.1, step_size=0.1, steps=1, grain=FINE)


def test_a_step_follows_the_band_of_the_gradient(images: Tensor, labels: Tensor) -> None:
    settings = PerturbationSettings(radius=9, step_size=1e-3, steps=1, grain=FINE)
    network, middle = tiny_network(), 0.3 + 0.4 * images
    leaf = middle.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(network(leaf), labels, reduction="sum"), leaf)
    change = perturb(network, middle, labels, settings) - middle
    expected = FINE.of(gradient)
    cosine = torch.cosine_similarity(change.flatten(1), -expected.flatten(1))
    assert cosine.min() > 0.999


def test_images_stay_in_the_ball_and_in_the_region(images: Tensor, labels: Tensor) -> None:
    regions = torch.zeros_like(images[:, :1], dtype=torch.bool)
    regions[:, :, 8:24, 8:24] = True
    seeds = list(range(len(images)))
    moved = perturb(tiny_network(), images, labels, FINE_STEPS, seeds=seeds, regions=regions)
    change = moved - images
    assert 0 < float(change.flatten(1).double().norm(dim=1).max()) <= FINE_STEPS.radius
    assert torch.equal(moved[~regions.expand_as(moved)], images[~regions.expand_as(images)])
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1


def test_an_image_gets_the_same_bytes_in_any_batch_of_one_size(images: Tensor, labels: Tensor) -> None:
    seeds, other = list(range(len(images))), list(reversed(range(len(images))))
    together = perturb(tiny_network(), images, labels, FINE_STEPS, seeds=seeds)
    turned = perturb(tiny_network(), images[other], labels[other], FINE_STEPS, seeds=other)
    assert torch.equal(together, turned[other])


def test_without_grain_nothing_of_it_is_written() -> None:
    assert "grain" not in PLAIN.model_dump()
    assert PerturbationSettings.model_validate(FINE_STEPS.model_dump(mode="json")) == FINE_STEPS
