"""Filters of files: real JPEG, so many gray levels, no color."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image

from monai_advenc.attackers.countermeasures.files import QUALITIES, BitDepth, Jpeg, WithoutColor

# Annex K of the JPEG standard, table K.1, in the order of the file (zigzag).
LUMINANCE = np.array(
    [
        *(16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58),
        *(51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87, 95, 98, 103, 104, 103),
        *(62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99),
    ]
)


ZIGZAG = sorted(range(64), key=lambda at: (at // 8 + at % 8, at // 8 if (at // 8 + at % 8) % 2 else at % 8))


def picture(channels: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(channels, 24, 40, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("quality", QUALITIES)
def test_jpeg_gives_what_a_file_with_the_tables_of_that_quality_holds(quality: int) -> None:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = ((LUMINANCE * scale + 50) // 100).clip(1, 255).astype(int)
    # Pillow takes tables in the order of rows.
    rows = np.empty(64, int)
    rows[ZIGZAG] = table
    file = io.BytesIO()
    Image.fromarray((picture()[0] * 255).round().byte().numpy()).save(file, "JPEG", qtables=[rows.tolist()])
    read = np.array(Image.open(file))
    assert torch.equal(Jpeg(quality)(picture()[None])[0, 0] * 255, torch.from_numpy(read).float())


def test_jpeg_keeps_colors_apart() -> None:
    color = torch.tensor([0.8, 0.2, 0.4])[:, None, None].expand(3, 16, 16)
    assert (Jpeg(90)(color[None])[0] - color).abs().max() < 0.02


@given(bits=st.integers(1, 8), seed=st.integers(0, 99))
def test_so_many_bits_have_so_many_levels(bits: int, seed: int) -> None:
    after = BitDepth(bits)(picture(seed=seed)[None])
    assert len(after.unique()) <= 2**bits
    assert (after - picture(seed=seed)).abs().max() <= 0.5 / (2**bits - 1) + 1e-6


def test_without_color_all_channels_are_their_mean() -> None:
    image = picture(3)[None]
    after = WithoutColor()(image)
    assert torch.allclose(after, image.mean(dim=1, keepdim=True).repeat(1, 3, 1, 1))
    gray = picture()[None]
    assert torch.equal(WithoutColor()(gray), gray)
