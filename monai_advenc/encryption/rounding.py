# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The file's grid: rounding that stays inside the ball and in range, and keeps as much of the perturbation as it can.

A file stores whole numbers. Rounding each pixel to the nearest of them may carry an image out of its ball, or leave
most of a faint perturbation at zero; and the file, not the tensor before it, is what others receive.

Why a perturbation is scaled before it is rounded
    Write ``c`` for the perturbation and ``r`` for what is left of it on the grid. Among all ``r`` on the grid that are
    no longer than itself, ``r = nearest(s * c)`` has the largest inner product with ``c``, whatever ``s > 0`` is: for
    every pixel it is the whole number of units that maximizes ``c r - r^2 / (2 s)``. So the largest ``s`` whose result
    is still inside the ball gives the grid image of the ball that goes farthest in the direction that PGD found. What
    is lost is the share of the ball's energy that rounding noise takes, ``unit^2 / 12`` a pixel: at 8 bits and the
    paper's budget 3 %. Further steps along the base network's gradient at the rounded image hardly win it back
    after plain steps; after augmentation-aware ones they win more, but less than as many steps before rounding do
    (``results/rounding.md``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_advenc.errors import ImageError, SettingsError
from monai_advenc.perturbation.pgd import GEOMETRIES

GRID_LEVELS: dict[str, int | None] = {"png8": 255, "png16": 65535, "nifti": None, "dicom": None}
"""Steps between black and white that a file format stores; ``None``: float32, or each file's own."""

ROUNDINGS = ("fit", "naive")
"""``"fit"``: scaled, then to the nearest value, inside the ball. ``"naive"``: to the nearest value, wherever that
leads; for comparisons only."""

_BISECTIONS = 12

_DOUBLINGS = 6
"""How often a factor is doubled from 1: a perturbation whose largest pixels are a hundredth of a unit still leaves a
trace; one that is smaller is none."""

_SHRINKAGES = 12
"""Of float32 images, each four times the one before, from one part in ten million on; the last
takes almost half."""

_FLOAT32_SPACING = 2.0**-23
"""Largest distance between neighboring float32 numbers up to 1: how well a pixel's place is known."""


def require_levels(levels: int | None) -> int | None:
    """The steps of a grid as they are; :class:`SettingsError` unless there are any."""
    if levels is not None and levels < 1:
        raise SettingsError(f"expected levels of 1 or more (255 for 8-bit files), or None, got {levels}")
    return levels


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
        slack=1.25 * _FLOAT32_SPACING,  # The hair, and what float32 rounded off the original.
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
    rounding: str = "fit",
) -> Tensor:
    """Round images to the grid so that the rounded ones are no farther than ``radius`` from their originals.

    The perturbation is scaled before rounding, image by image: shrunk a little where nearest rounding would lead out
    of the ball, by the largest factor that does not; enlarged where rounding would swallow a faint perturbation, until
    what is left is as long as it was.

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
        rounding: A name in :data:`ROUNDINGS`; anything but ``"fit"`` may leave the ball.

    Returns:
        Images whose pixels are ``k / levels``, or a whole number of units from the original (bit for bit the original
        where that number is 0), in [0, 1], within ``radius``.

    Raises:
        ImageError: Even the rounded original is outside, or no pixel could change: the grid is too coarse for this
            radius.
        SettingsError: Both ``levels`` and ``unit``, or a unit that is none.
    """
    if rounding not in ROUNDINGS:
        raise SettingsError(f"unknown rounding {rounding!r}; choose one of {', '.join(ROUNDINGS)}")
    grid = choose_grid(originals, levels, unit)
    if grid is None:
        return images if rounding == "naive" else _shrink_into_ball(images, originals, radius, norm)
    exact, change = originals.double(), (images - originals).double()
    if mask is not None:
        change = change * mask

    def rounded(factor: Tensor) -> Tensor:
        return grid.pixels(grid.nearest(exact + factor[:, None, None, None] * change))

    one = exact.new_ones(len(exact))
    if rounding == "naive":
        return rounded(one)
    allowed = _allowed_length(grid, exact, radius, norm)

    def length(factor: Tensor) -> Tensor:
        return GEOMETRIES[norm].length(rounded(factor).double() - exact)

    least = length(0 * one)
    # Where the original lies on the grid and the next value is outside, no pixel could change.
    if ((least > allowed) | ((least == 0) & (grid.unit.flatten() > radius))).any():
        finest = round(1 / grid.unit.max().item()) + 1
        raise ImageError(
            f"a grid of {finest} gray levels is too coarse for a radius of {radius:.4g}; choose a finer file format"
        )
    # What rounding swallowed is given back, but a perturbation that needed less than the ball gets no more than that.
    wanted = torch.maximum(GEOMETRIES[norm].length(change), length(one)).clamp_max(allowed)
    return rounded(_largest_factor(lambda factor: length(factor) <= wanted, one))


def _largest_factor(is_inside: Callable[[Tensor], Tensor], one: Tensor) -> Tensor:
    """For each image the largest factor, to one part in 4096, that leaves it inside; 0 is known to."""
    low, high = 0 * one, one
    for _ in range(_DOUBLINGS):
        inside = is_inside(high)
        if not inside.any():
            break
        low, high = torch.where(inside, high, low), torch.where(inside, 2 * high, high)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        inside = is_inside(middle)
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low


def _allowed_length(grid: Grid, originals: Tensor, radius: float, norm: str) -> float:
    """How long a change may be for us to measure, so that it is inside the ball for whoever reads the file."""
    one_slack_in_every_pixel = torch.full_like(originals[:1], grid.slack)
    return radius - GEOMETRIES[norm].length(one_slack_in_every_pixel).sum().item()


def choose_grid(originals: Tensor, levels: int | None, unit: Tensor | None) -> Grid | None:
    """The grid that ``levels`` or ``unit`` describe; ``None`` for float32 files.

    Raises:
        SettingsError: Both are given.
    """
    if levels is not None and unit is not None:
        raise SettingsError("give levels (PNG) or unit (files on their own grid), not both: a file has one grid")
    if unit is not None:
        return grid_around(originals, unit)
    require_levels(levels)
    return None if levels is None else grid_of_levels(originals, levels)


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
