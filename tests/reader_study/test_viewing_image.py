from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from monai_advenc.reader_study.building.viewing_image import FINE, GrayScale, encode_pixels, gray_scale_of, shared_scale


def shown(image: torch.Tensor, scale: GrayScale) -> NDArray[np.uint16]:
    return np.frombuffer(encode_pixels(image, scale), dtype="<u2")


def windowed(levels: int, low: float, high: float, seed: int, empty: float = 0.5) -> torch.Tensor:
    """A scanner's whole numbers below ``levels``, a window cut out of them, much black around."""
    generator = np.random.default_rng(seed)
    numbers = generator.normal(levels / 2, levels / 8, (1, 64, 64)).round()
    numbers[generator.random(numbers.shape) < empty] = 0
    return torch.from_numpy(((numbers - low) / (high - low)).clip(0, 1).astype(np.float32))


def perturbed(image: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (image + 0.006 * torch.randn(image.shape, generator=generator)).clamp(0, 1)


@given(st.integers(400, 4000), st.floats(0, 0.3), st.floats(0.7, 1), st.integers(0, 5), st.booleans())
def test_gray_levels_do_not_tell_an_original_of_whole_numbers_from_its_encrypted_image(
    levels: int, low: float, high: float, seed: int, in_16_bits: bool
) -> None:
    original = windowed(levels, levels * low, levels * high, seed)
    if in_16_bits:
        original = (original.double() * 65535).round().div(65535).float()
    encrypted = perturbed(original)
    scale = shared_scale(original, encrypted)
    before, after = shown(original, scale), shown(encrypted, scale)
    # The reader sees the original as it is, to one level of 16 bits, ...
    assert np.abs(before - original.numpy().ravel() * 65535.0).max() <= 1.51
    # ... and both have their levels apart by no less than the scanner's, black and white aside.
    spacing = 65535 / (levels * (high - low))
    for pixels in (before, after):
        inside = np.unique(pixels)[1:-1].astype(int)
        assert np.diff(inside).min() >= spacing - 2


def test_pixels_that_take_every_value_are_shown_in_16_bits() -> None:
    image = torch.rand((1, 32, 32), generator=torch.Generator().manual_seed(0))
    assert gray_scale_of(image) == FINE
    assert np.array_equal(shown(image, FINE), np.rint(image.double().numpy().ravel() * 65535))


def test_the_coarser_of_the_two_images_decides() -> None:
    fine = torch.rand((3, 32, 32), generator=torch.Generator().manual_seed(0))
    coarse = (fine * 255).round() / 255
    for images in ((fine, coarse), (coarse, fine)):
        scale = shared_scale(*images)
        assert scale.step == pytest.approx(1 / 255)
        assert not any((shown(image, scale) % 257).any() for image in images)


@pytest.mark.parametrize("values", [[0.0], [0.3], [0.0, 1.0], [0.1, 0.35], [0.25, 0.5, 0.75], [0.1, 0.1001, 0.7]])
def test_an_image_of_few_levels_makes_no_scale_coarser_than_7_bits(values: list[float]) -> None:
    image = torch.tensor(values * 4).reshape(1, 4, len(values))
    scale = gray_scale_of(image)
    assert scale.step <= 2 / 255 + 1e-9
    assert np.abs(shown(image, scale) - image.permute(1, 2, 0).numpy().ravel() * 65535.0).max() <= 1.51
