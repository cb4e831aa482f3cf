from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from monai_advenc.errors import ImageError
from monai_advenc.evaluation.haarpsi import MEDICAL, NATURAL, HaarPsiSetting, haarpsi, similarity_maps


def waves(height: int = 64, width: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Gray levels of 255 that anyone can write down again: waves, and the same with a pattern on them."""
    row, column = np.mgrid[0:height, 0:width]
    original = np.round(127.5 + 80 * np.sin(column / 5) + 40 * np.cos(row / 3 + column / 11))
    return original, original + (column * 7 + row * 13) % 11 - 5


# What the authors' own program (haarPsi.py of 2018) gives for these images, run once; the medical one with C = 5 and
# alpha = 4.9 in it. No value was published for an image that may be passed on.
@pytest.mark.parametrize(
    ("shape", "setting", "theirs"),
    [
        ((64, 80), NATURAL, 0.9977504453574336),
        ((64, 80), MEDICAL, 0.9964972818652069),
        ((61, 77), NATURAL, 0.9975125522007989),
    ],
)
def test_the_index_is_that_of_the_authors_program(
    shape: tuple[int, int], setting: HaarPsiSetting, theirs: float
) -> None:
    original, changed = (image[: shape[0], : shape[1]] for image in waves())
    assert haarpsi(changed / 255, original / 255, setting) == pytest.approx(theirs, abs=1e-10)


def test_an_image_is_wholly_like_itself_and_the_index_has_no_preferred_side() -> None:
    original, changed = (image / 255 for image in waves())
    assert haarpsi(original, original) == pytest.approx(1, abs=1e-6)
    assert haarpsi(changed, original) == pytest.approx(haarpsi(original, changed))
    flat = np.full((20, 20), 0.5)
    assert haarpsi(flat, flat) == pytest.approx(1, abs=1e-6)


@given(st.floats(0.005, 0.1), st.integers(0, 9))
def test_more_noise_is_less_alike(strength: float, seed: int) -> None:
    original = waves(32, 32)[0] / 255
    noise = np.random.default_rng(seed).normal(0, 1, original.shape)
    values = [haarpsi(original + factor * strength * noise, original) for factor in (1, 3)]
    assert 0 <= values[1] < values[0] <= 1


def test_a_region_counts_only_what_changed_within_it() -> None:
    original, changed = (image / 255 for image in waves())
    half = original.copy()
    half[:, 40:] = changed[:, 40:]
    left = np.zeros(original.shape, dtype=bool)
    # The widest wavelet reaches a few pixels over the edge.
    left[:, :24] = True
    maps = similarity_maps(half, original)
    assert maps.index(left) == pytest.approx(1, abs=1e-6)
    assert maps.index(~left) < maps.index() < 1
    single = np.zeros(original.shape, dtype=bool)
    single[31, 61] = True
    assert 0 <= maps.index(single) <= 1


def test_images_of_two_shapes_or_too_small_are_refused() -> None:
    with pytest.raises(ImageError, match="at least 16 pixels"):
        haarpsi(np.zeros((20, 20)), np.zeros((20, 21)))
    with pytest.raises(ImageError, match="at least 16 pixels"):
        haarpsi(np.zeros((8, 8)), np.zeros((8, 8)))
