"""Slices on the numbers of their files: written back exactly, with a window that encryption does not move."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from monai_advenc.data.stored_slice import StoredSlice
from monai_advenc.encryption.rounding import round_to_grid
from monai_advenc.errors import ImageError
from monai_advenc.perturbation.geometry import GEOMETRIES

L2 = GEOMETRIES["l2"].length


@st.composite
def stored_slices(draw: st.DrawFn) -> StoredSlice:
    bits = draw(st.integers(8, 16))
    signed = draw(st.booleans())
    dtype = np.int16 if signed else np.uint16
    lowest = -(2 ** (bits - 1)) if signed else 0
    limits = (lowest, lowest + 2**bits - 1)
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(st.integers(7, 24), st.integers(7, 24)))
    center = draw(st.integers(limits[0], limits[1]))
    stored = np.rint(generator.normal(center, draw(st.floats(3, 2**bits / 4)), shape)).clip(*limits)
    # Background: one value in a good part of the slice.
    stored = np.where(generator.random(shape) < draw(st.sampled_from([0, 0.4])), stored.min(), stored)
    reserved = None
    if draw(st.booleans()):
        first = draw(st.integers(limits[0], limits[1]))
        reserved = (first, min(limits[1], first + draw(st.integers(0, 5))))
        stored = np.where(generator.random(shape) < 0.2, first, stored)
    return StoredSlice(stored.astype(dtype), "the slice", draw(st.booleans()), reserved, limits)


def encrypted(stored: StoredSlice, radius: float, seed: int) -> NDArray[Any]:
    """Changed by noise of the length of the radius, as an encryption changes it."""
    image, free = stored.image(), stored.free()
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)) * free
    noise = noise / noise.norm().clamp_min(1e-9) * radius
    unit = None if stored.unit is None else torch.tensor([stored.unit], dtype=torch.float64)
    pixels = round_to_grid((image + noise).clamp(0, 1)[None], image[None], unit=unit, radius=radius, mask=free[None])
    return stored.changed(pixels[0], radius, L2)


@settings(max_examples=150, deadline=None)
@given(stored=stored_slices(), radius=st.floats(0.3, 3), seed=st.integers(0, 1000))
def test_encrypting_moves_whole_units_within_the_window_and_the_ball_and_leaves_the_rest(
    stored: StoredSlice, radius: float, seed: int
) -> None:
    try:
        low, high = stored.window
    except ImageError:
        return
    if (stored.unit or 0) > radius:
        return
    after = encrypted(stored, radius, seed)
    before, free = stored.stored, stored.free()[0].numpy()
    assert after.dtype == before.dtype
    assert np.array_equal(after[~free], before[~free])
    assert ((after[free] >= low) & (after[free] <= high)).all()
    assert not free[(before <= low) | (before >= high)].any()
    distance = L2((stored.on_same_window(after).double() - stored.image().double())[None])
    assert distance <= radius
    read_back = StoredSlice(after, "read back", stored.rising, stored.reserved, stored.limits)
    assert read_back.window == stored.window
    assert torch.equal(read_back.image(), stored.on_same_window(after))
    if stored.reserved is not None:
        was, now = ((values >= stored.reserved[0]) & (values <= stored.reserved[1]) for values in (before, after))
        assert np.array_equal(was, now)


@settings(max_examples=60, deadline=None)
@given(stored=stored_slices())
def test_an_unchanged_image_gives_the_stored_values_back(stored: StoredSlice) -> None:
    try:
        image = stored.image()
    except ImageError:
        return
    assert image.min() >= 0
    assert image.max() <= 1
    assert np.array_equal(stored.changed(image, 1.0, L2), stored.stored)


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["<f4", ">f4", "<f8"]),
    offset=st.floats(-1e4, 1e4),
    spread=st.floats(1e-2, 1e4),
    radius=st.floats(0.1, 3),
    seed=st.integers(0, 1000),
)
def test_floats_stay_in_the_ball_after_they_were_rounded_to_their_type(
    dtype: str, offset: float, spread: float, radius: float, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(offset, spread, (12, 12)).astype(dtype)
    stored = StoredSlice(values, "floats")
    after = encrypted(stored, radius, seed)
    assert after.dtype == values.dtype
    low, high = stored.window
    exact = (after.astype(np.float64) - values.astype(np.float64)) / (high - low)
    assert np.sqrt(np.square(exact).sum()) <= radius
    assert np.array_equal(after[~stored.free()[0].numpy()], values[~stored.free()[0].numpy()])
    assert StoredSlice(after, "read back").window == stored.window


def test_a_falling_scale_is_shown_the_other_way_round() -> None:
    values = np.arange(100, dtype=np.int16).reshape(10, 10)
    up, down = (StoredSlice(values, "s", rising=rising).image() for rising in (True, False))
    assert torch.allclose(down, 1 - up)


@pytest.mark.parametrize(
    "values",
    [
        np.full((8, 8), 7, np.int16),
        np.where(np.arange(1024).reshape(32, 32) == 3, 9, np.where(np.arange(1024).reshape(32, 32) == 4, 5, 7)),
        np.full((8, 8), np.nan, np.float32),
    ],
)
def test_what_shows_nothing_is_refused_in_one_line(values: NDArray[Any]) -> None:
    with pytest.raises(ImageError) as error:
        _ = StoredSlice(values, "the slice").window
    assert "\n" not in str(error.value)


def test_padding_alone_is_refused() -> None:
    with pytest.raises(ImageError, match="nothing but padding"):
        StoredSlice(np.full((8, 8), -2000, np.int16), "s", reserved=(-2000, -2000)).image()
