# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The file's grid: rounding that stays inside the ball and in range.

A file stores pixels as ``k / levels`` for whole k. Rounding each pixel to the nearest of them may carry an image out
of its ball, and the file, not the tensor before it, is what others receive.
"""

from __future__ import annotations

import torch
from torch import Tensor

from monai_advenc.errors import ImageError
from monai_advenc.perturbation import GEOMETRIES

GRID_LEVELS: dict[str, int | None] = {"png8": 255, "png16": 65535, "nifti": None}
"""Steps between black and white that a file format stores; ``None``: float32."""

_BISECTIONS = 12

_SHRINKAGES = 12
"""Of float32 images, each four times the one before, from one part in ten million on; the last
takes almost half."""


def coarsest_levels(formats: tuple[str, ...]) -> int | None:
    """Levels of the coarsest grid among ``formats``: on it, every one of the files holds the same pixel values."""
    levels = [count for name in formats if (count := GRID_LEVELS[name]) is not None]
    return min(levels) if levels else None


def round_to_grid(
    images: Tensor,
    originals: Tensor,
    *,
    levels: int | None,
    radius: float,
    norm: str = "l2",
    mask: Tensor | None = None,
) -> Tensor:
    """Round images to the grid so that the rounded ones are no farther than ``radius`` from their originals.

    Nearest rounding where that is inside. Where it is not, the perturbation is shrunk a little before rounding, by
    the largest factor (found by bisection, image by image) whose rounded result is inside.

    Args:
        images: Encrypted images ``(N, C, H, W)`` in [0, 1].
        originals: Their originals, the same shape. They need not lie on the grid themselves.
        levels: Steps between 0 and 1; ``None`` keeps float32, shrunk by a hair where its rounding led out of
            the ball.
        radius: Radius of the ball.
        norm: Its geometry.
        mask: Pixels that were free to change, ``(N, 1, H, W)``. Outside, an original that lies on the grid stays as
            it is anyway; one that does not is rounded to the nearest level.

    Returns:
        Images whose pixels are ``k / levels``, in [0, 1], within ``radius``.

    Raises:
        ImageError: Even the rounded original is outside: the grid is too coarse for this radius.
    """
    if levels is None:
        return _shrink_into_ball(images, originals, radius, norm)
    originals, change = originals.double(), (images - originals).double()
    if mask is not None:
        change = change * mask

    def rounded(share: Tensor) -> Tensor:
        pixels = (originals + share[:, None, None, None] * change).clamp(0, 1)
        # To float32 before measuring: that is what a reader of the file computes.
        return ((pixels * levels).round() / levels).float()

    def is_inside(pixels: Tensor) -> Tensor:
        return GEOMETRIES[norm].length(pixels.double() - originals) <= radius

    low, high = torch.zeros_like(change[:, 0, 0, 0]), torch.ones_like(change[:, 0, 0, 0])
    if is_inside(nearest := rounded(high)).all():
        return nearest
    if not is_inside(rounded(low)).all():
        raise ImageError(
            f"a grid of {levels + 1} gray levels is too coarse for a radius of {radius:.4g}; choose a finer file format"
        )
    low = torch.where(is_inside(nearest), high, low)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        inside = is_inside(rounded(middle))
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return rounded(low)


def _shrink_into_ball(images: Tensor, originals: Tensor, radius: float, norm: str) -> Tensor:
    """Float32 images, those shrunk a little that rounding to float32 had put outside; others stay to the last bit."""
    exact = originals.double()
    change = images.double() - exact
    kept = images
    for power in range(_SHRINKAGES):
        outside = GEOMETRIES[norm].length(kept.double() - exact) > radius
        if not outside.any():
            break
        smaller = (exact + (1 - 1e-7 * 4**power) * change).float().clamp(0, 1)
        kept = torch.where(outside[:, None, None, None], smaller, kept)
    return kept
