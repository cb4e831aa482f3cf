"""What is done to medical images before training anyway."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage

from monai_advenc.attackers.countermeasures.attacker import ImageFilter
from monai_advenc.attackers.countermeasures.medical_routine import BiasCorrection, RicianNoise, Routine, Stripped

ROUTINES: list[ImageFilter] = [
    *(Routine("z-score"), Routine("percentiles"), Routine("histogram"), Routine("window"), Routine("resample")),
    *(BiasCorrection(), Stripped(), RicianNoise(0.03)),
]


def heads(count: int = 2, side: int = 32) -> torch.Tensor:
    """Bright disks of soft tissue on black ground, ``(N, 1, S, S)``."""
    place = torch.linspace(-1, 1, side)
    inside = (place[:, None].square() + place.square() < 0.8**2).float()
    tissue = 0.2 + 0.4 * torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(3))
    return tissue * inside


@pytest.mark.parametrize("image_filter", ROUTINES)
def test_images_keep_their_shape_and_range_and_are_changed_alone(image_filter: ImageFilter) -> None:
    images = heads(3)
    after = image_filter(images)
    assert after.shape == images.shape
    assert after.dtype == torch.float32
    assert torch.equal(after[1:2], image_filter(images[1:2]))
    assert not torch.equal(after, images)


@pytest.mark.parametrize("name", ["z-score", "percentiles"])
def test_gain_and_offset_do_not_survive_standardizing(name: str) -> None:
    images = 0.3 + 0.3 * torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(4))
    first, second = Routine(name)(images), Routine(name)(0.7 * images + 0.1)  # type: ignore[arg-type]  # parametrized
    assert torch.allclose(first, second, atol=2e-3)


def test_equalized_histograms_are_flat() -> None:
    images = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(5)).pow(1.5)
    after = Routine("histogram")(images).flatten().sort().values
    assert torch.allclose(after, torch.linspace(0, 1, len(after)), atol=0.05)


def test_bias_correction_removes_most_of_a_slope() -> None:
    images, slope = heads(), torch.linspace(0.6, 1.4, 32)
    shaded = BiasCorrection()(images * slope)
    inside = images[0, 0] > 0

    def tilt(image: torch.Tensor) -> float:
        columns = [image[:, column][inside[:, column]].mean() for column in (6, 25)]
        return float(columns[1] / columns[0])

    before, after = tilt((images * slope)[0, 0]), tilt(shaded[0, 0])
    assert abs(after - 1) < 0.5 * abs(before - 1)


def test_stripping_removes_a_rim_of_the_body() -> None:
    images = heads(1)
    left, body = Stripped(0.08)(images)[0, 0].numpy() > 0, images[0, 0].numpy() > 0
    expected = ndimage.binary_erosion(body, iterations=round(0.08 * 32))
    assert (left == expected).all()


def test_rician_noise_has_the_mean_of_its_law_in_black_images() -> None:
    noisy = RicianNoise(0.05)(torch.zeros(1, 1, 128, 128))
    # Rayleigh: sigma times the root of pi / 2.
    assert noisy.mean() == pytest.approx(0.05 * (torch.pi / 2) ** 0.5, rel=0.03)
