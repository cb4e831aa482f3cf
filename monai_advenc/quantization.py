# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The file's grid: rounding that stays inside the ball and in range.

A file stores whole numbers. Rounding each pixel to the nearest of them may carry an image out of its ball, and the
file, not the tensor before it, is what others receive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_advenc.errors import ImageError, SettingsError
from monai_advenc.perturbation import GEOMETRIES

GRID_LEVELS: dict[str, int | None] = {"png8": 255, "png16": 65535, "nifti": None, "dicom": None}
"""Steps between black and white that a file format stores; ``None``: float32, or each file's own."""

_BISECTIONS = 12

_SHRINKAGES = 12
"""Of float32 images, each four times the one before, from one part in ten million on; the last
takes almost half."""

_FLOAT32_SPACING = 2.0**-23
"""Largest distance between neighboring float32 numbers up to 1: how well a pixel's place is known."""


def coarsest_levels(formats: tuple[str, ...]) -> int | None:
    """Levels of the coarsest grid among ``formats``: on it, every one of the files holds the same pixel values."""
    levels = [count for name in formats if (count := GRID_LEVELS[name]) is not None]
    return min(levels) if levels else None


@dataclass(frozen=True)
class Grid:
    """The pixel values that the files of a batch can hold, counted in whole steps.

    Attributes:
        steps_of: From pixels ``(N, C, H, W)``, float64, to real numbers of steps.
        pixels: From whole numbers of steps to pixels, float32: what a reader of the file computes.
        lowest: Fewest steps a pixel can have, broadcast to ``(N, C, H, W)``.
        highest: Most steps.
        unit: Size of a step on the [0, 1] scale, ``(N, 1, 1, 1)``, float64.
        slack: How much a reader's arithmetic may differ from ours in one pixel.
    """

    steps_of: Callable[[Tensor], Tensor]
    pixels: Callable[[Tensor], Tensor]
    lowest: Tensor
    highest: Tensor
    unit: Tensor
    slack: float

    def nearest(self, images: Tensor) -> Tensor:
        """The number of steps nearest to each pixel."""
        return self.steps_of(images.double()).round().clamp(self.lowest, self.highest)


def grid_of_levels(originals: Tensor, levels: int) -> Grid:
    """Pixels ``k / levels``, wherever the originals lie: PNG."""

    def pixels(steps: Tensor) -> Tensor:
        # To float32 before measuring: that is what a reader of the file computes.
        return (steps / levels).float()

    end = originals.new_zeros((), dtype=torch.float64)
    unit = torch.full((len(originals), 1, 1, 1), 1 / levels, dtype=torch.float64, device=originals.device)
    return Grid(lambda images: images * levels, pixels, end, end + levels, unit, slack=0)


def grid_around(originals: Tensor, unit: Tensor) -> Grid:
    """Pixels that are a whole number of units away from the original, each image with its own unit: DICOM, NIfTI.

    Args:
        originals: ``(N, C, H, W)`` in [0, 1], read from such files: stored integers times ``unit`` plus an offset.
        unit: ``(N,)``: what one stored unit is on the [0, 1] scale.

    Raises:
        SettingsError: Not one unit above 0, up to 1, for each image.
    """
    if unit.shape != originals.shape[:1] or not ((unit > 0) & (unit <= 1)).all():
        raise SettingsError(
            f"expected one unit in (0, 1] for each of {len(originals)} images, got {tuple(unit.shape)}"
            + (f" from {unit.min():.4g} to {unit.max():.4g}" if unit.numel() else "")
        )
    anchor = originals.double()
    size = unit.to(anchor)[:, None, None, None]
    # Float32 pixels lie a hair beside their place: that hair must not cost the last stored value at either end.
    hair = (_FLOAT32_SPACING / size).clamp_max(0.49)

    def pixels(steps: Tensor) -> Tensor:
        return (anchor + steps * size).clamp(0, 1).float()

    return Grid(
        steps_of=lambda images: (images - anchor) / size,
        pixels=pixels,
        lowest=-(anchor / size + hair).floor(),
        highest=((1 - anchor) / size + hair).floor(),
        unit=size,
        slack=_FLOAT32_SPACING,
    )


def round_to_grid(
    images: Tensor,
    originals: Tensor,
    *,
    levels: int | None = None,
    unit: Tensor | None = None,
    radius: float,
    norm: str = "l2",
    mask: Tensor | None = None,
) -> Tensor:
    """Round images to the grid so that the rounded ones are no farther than ``radius`` from their originals.

    Nearest rounding where that is inside. Where it is not, the perturbation is shrunk a little before rounding, by
    the largest factor (found by bisection, image by image) whose rounded result is inside.

    Args:
        images: Encrypted images ``(N, C, H, W)`` in [0, 1].
        originals: Their originals, the same shape.
        levels: Steps between 0 and 1 of a grid that starts at 0 (PNG); the originals need not lie on it.
        unit: ``(N,)``: size of one stored unit, for files on whose own grid the originals lie (DICOM, scaled NIfTI).
            Without ``levels`` and ``unit`` images stay float32, shrunk by a hair where its rounding led out of
            the ball.
        radius: Radius of the ball.
        norm: Its geometry.
        mask: Pixels that were free to change, ``(N, 1, H, W)``. Outside, an original that lies on the grid stays as
            it is anyway; one that does not is rounded to the nearest level.

    Returns:
        Images whose pixels are ``k / levels``, or a whole number of units from the original (bit for bit the original
        where that number is 0), in [0, 1], within ``radius``.

    Raises:
        ImageError: Even the rounded original is outside, or no pixel could change: the grid is too coarse for this
            radius.
        SettingsError: Both ``levels`` and ``unit``, or a unit that is none.
    """
    grid = choose_grid(originals, levels, unit)
    if grid is None:
        return _shrink_into_ball(images, originals, radius, norm)
    originals, change = originals.double(), (images - originals).double()
    if mask is not None:
        change = change * mask

    def rounded(share: Tensor) -> Tensor:
        return grid.pixels(grid.nearest(originals + share[:, None, None, None] * change))

    is_inside = ball_test(grid, originals, radius, norm)
    low, high = torch.zeros_like(change[:, 0, 0, 0]), torch.ones_like(change[:, 0, 0, 0])
    if (grid.unit > radius).any() or not is_inside(rounded(low)).all():
        finest = round(1 / grid.unit.max().item()) + 1
        raise ImageError(
            f"a grid of {finest} gray levels is too coarse for a radius of {radius:.4g}; choose a finer file format"
        )
    if is_inside(nearest := rounded(high)).all():
        return nearest
    low = torch.where(is_inside(nearest), high, low)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        inside = is_inside(rounded(middle))
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return rounded(low)


def choose_grid(originals: Tensor, levels: int | None, unit: Tensor | None) -> Grid | None:
    """The grid that ``levels`` or ``unit`` describe; ``None`` for float32 files.

    Raises:
        SettingsError: Both are given.
    """
    if levels is not None and unit is not None:
        raise SettingsError("give levels (PNG) or unit (files on their own grid), not both: a file has one grid")
    if unit is not None:
        return grid_around(originals, unit)
    return None if levels is None else grid_of_levels(originals, levels)


def ball_test(grid: Grid, originals: Tensor, radius: float, norm: str) -> Callable[[Tensor], Tensor]:
    """From pixels ``(N, C, H, W)`` to whether each image is inside its ball, measured in float64."""
    exact = originals.double()
    # The length of an error of one slack in every pixel.
    allowed = radius - GEOMETRIES[norm].length(torch.full_like(exact[:1], grid.slack)).sum().item()

    def is_inside(pixels: Tensor) -> Tensor:
        return GEOMETRIES[norm].length(pixels.double() - exact) <= allowed

    return is_inside


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
