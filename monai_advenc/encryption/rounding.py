# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Round images to the file's grid, inside the ball and in range, and keep as much of the perturbation as possible.

A file stores whole numbers. Rounding each pixel to the nearest one can move an image out of its ball, or set most of a
faint perturbation to zero. Recipients get the file, not the tensor before it.

Reason for scaling a perturbation before rounding
    Let ``c`` be the perturbation and ``r`` the rounded one on the grid. For any ``s > 0``, ``r = nearest(s * c)`` has
    the largest inner product with ``c`` among all ``r`` on the grid that are no longer: for every pixel it is the whole
    number of units that maximizes ``c r - r^2 / (2 s)``. So the largest ``s`` whose result is inside the ball gives the
    grid image of the ball that goes farthest in the direction of PGD. The loss is the share of the ball's energy that
    rounding noise takes, ``unit^2 / 12`` per pixel: 3 % at 8 bits and the paper's budget. Further steps along the base
    network's gradient at the rounded image regain little of it after plain steps. After augmentation-aware steps they
    regain more, but less than the same number of steps before rounding (``results/rounding.md``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_advenc.errors import ImageError, SettingsError
from monai_advenc.perturbation.geometry import GEOMETRIES, Radius

GRID_LEVELS: dict[str, int | None] = {"png8": 255, "png16": 65535, "nifti": None, "dicom": None}
"""Number of steps between black and white by file format; ``None``: float32, or the file's own."""

ROUNDINGS = ("fit", "naive")
"""``"fit"``: scaled, then to the nearest value inside the ball. ``"naive"``: to the nearest value, even outside the
ball; for comparisons only."""

_BISECTIONS = 12

_DOUBLINGS = 6
"""Number of doublings of the factor from 1: a perturbation whose largest pixels are a hundredth of a unit leaves a
trace, a smaller one does not."""

_SHRINKAGES = 12
"""Reductions of float32 images: each is four times the previous one, from one part in ten million to almost half."""

_FLOAT32_SPACING = 2.0**-23
"""Largest distance between neighboring float32 numbers up to 1: the precision of a pixel."""


def require_levels(levels: int | None) -> int | None:
    """Return the steps of a grid; raise :class:`SettingsError` if they are below 1."""
    if levels is not None and levels < 1:
        raise SettingsError(f"expected levels of 1 or more (255 for 8-bit files), or None, got {levels}")
    return levels


def coarsest_levels(formats: tuple[str, ...]) -> int | None:
    """Levels of the coarsest grid among ``formats``, on which all files hold the same pixel values."""
    levels = [count for name in formats if (count := GRID_LEVELS[name]) is not None]
    return min(levels) if levels else None


@dataclass(frozen=True)
class Grid:
    """The pixel values that the files of a batch can hold, counted in whole steps.

    Attributes:
        steps_of: Maps pixels ``(N, C, H, W)``, float64, to real numbers of steps.
        pixels: Maps whole numbers of steps to float32 pixels, like a reader of the file.
        lowest: Smallest number of steps of a pixel, broadcast to ``(N, C, H, W)``.
        highest: Largest number of steps.
        unit: Size of a step on the [0, 1] scale, ``(N, 1, 1, 1)``, float64.
        slack: Largest difference between a reader's arithmetic and ours in one pixel.
    """

    steps_of: Callable[[Tensor], Tensor]
    pixels: Callable[[Tensor], Tensor]
    lowest: Tensor
    highest: Tensor
    unit: Tensor
    slack: float

    def nearest(self, images: Tensor) -> Tensor:
        """Round each pixel to a whole number of steps."""
        return self.steps_of(images.double()).round().clamp(self.lowest, self.highest)


def grid_of_levels(originals: Tensor, levels: int) -> Grid:
    """Grid of pixels ``k / levels``, independent of the originals: PNG."""

    def pixels(steps: Tensor) -> Tensor:
        # To float32 before measuring, as a reader of the file computes it.
        return (steps / levels).float()

    end = originals.new_zeros((), dtype=torch.float64)
    unit = torch.full((len(originals), 1, 1, 1), 1 / levels, dtype=torch.float64, device=originals.device)
    return Grid(lambda images: images * levels, pixels, end, end + levels, unit, slack=0)


def grid_around(originals: Tensor, unit: Tensor) -> Grid:
    """Grid of pixels a whole number of units away from the original, each image with its own unit: DICOM, NIfTI.

    Args:
        originals: ``(N, C, H, W)`` in [0, 1], read from such files: stored integers times ``unit`` plus an offset.
        unit: ``(N,)``: size of one stored unit on the [0, 1] scale.

    Raises:
        SettingsError: There is not one unit in (0, 1] for each image.
    """
    if unit.shape != originals.shape[:1] or not ((unit > 0) & (unit <= 1)).all():
        raise SettingsError(
            f"expected one unit in (0, 1] for each of {len(originals)} images, got {tuple(unit.shape)}"
            + (f" from {unit.min():.4g} to {unit.max():.4g}" if unit.numel() else "")
        )
    anchor = originals.double()
    size = unit.to(anchor)[:, None, None, None]
    # The rounding error of float32 pixels must not exclude the last stored value at either end.
    hair = (_FLOAT32_SPACING / size).clamp_max(0.49)

    def pixels(steps: Tensor) -> Tensor:
        return (anchor + steps * size).clamp(0, 1).float()

    return Grid(
        steps_of=lambda images: (images - anchor) / size,
        pixels=pixels,
        lowest=-(anchor / size + hair).floor(),
        highest=((1 - anchor) / size + hair).floor(),
        unit=size,
        slack=1.25 * _FLOAT32_SPACING,  # The tolerance above, and float32's rounding of the original.
    )


def round_to_grid(
    images: Tensor,
    originals: Tensor,
    *,
    levels: int | None = None,
    unit: Tensor | None = None,
    radius: Radius,
    norm: str = "l2",
    mask: Tensor | None = None,
    rounding: str = "fit",
) -> Tensor:
    """Round images to the grid, at most ``radius`` away from their originals.

    The perturbation of each image is scaled before rounding. If nearest rounding would leave the ball, it is shrunk by
    the largest factor that does not. If rounding would remove a faint perturbation, it is enlarged until the rounded
    one is as long as before.

    Args:
        images: Encrypted images ``(N, C, H, W)`` in [0, 1].
        originals: Their originals, the same shape.
        levels: Steps between 0 and 1 of a grid that starts at 0 (PNG); the originals may lie off this grid.
        unit: ``(N,)``: size of one stored unit, for files whose originals lie on their own grid (DICOM, scaled NIfTI).
            Without ``levels`` and ``unit`` images stay float32, shrunk slightly if float32 rounding left the ball.
        radius: Radius of the ball; one for all images, or ``(N,)``.
        norm: Norm of the ball.
        mask: Pixels that were free to change, ``(N, 1, H, W)``. Outside of them, an original on the grid does not
            change; another is rounded to the nearest level.
        rounding: A name in :data:`ROUNDINGS`; anything but ``"fit"`` may leave the ball.

    Returns:
        Images whose pixels are ``k / levels``, or a whole number of units from the original (bit for bit the original
        where that number is 0), in [0, 1], within ``radius``.

    Raises:
        ImageError: The grid is too coarse for this radius: even the rounded original is outside, or no pixel could
            change.
        SettingsError: Both ``levels`` and ``unit`` are given, or a unit is invalid.
    """
    if rounding not in ROUNDINGS:
        raise SettingsError(f"unknown rounding {rounding!r}; choose one of {', '.join(ROUNDINGS)}")
    grid = choose_grid(originals, levels, unit)
    if grid is None:
        return images if rounding == "naive" else _shrink_into_ball(images, originals, radius, norm)
    radius = radius.to(originals.device, torch.float64) if isinstance(radius, Tensor) else radius
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
    # If the original lies on the grid and the next value is outside the ball, no pixel could change.
    if ((least > allowed) | ((least == 0) & (grid.unit.flatten() > radius))).any():
        finest = round(1 / grid.unit.max().item()) + 1
        smallest = float(radius.min()) if isinstance(radius, Tensor) else radius
        raise ImageError(
            f"a grid of {finest} gray levels is too coarse for a radius of {smallest:.4g}; choose a finer file format"
        )
    # Rounding losses are restored, but a perturbation shorter than the radius does not become longer than it was.
    wanted = torch.maximum(GEOMETRIES[norm].length(change), length(one)).clamp_max(allowed)
    return rounded(_largest_factor(lambda factor: length(factor) <= wanted, one))


def _largest_factor(is_inside: Callable[[Tensor], Tensor], one: Tensor) -> Tensor:
    """Largest factor for each image, to one part in 4096, that keeps it inside the ball; 0 always does."""
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


def _allowed_length(grid: Grid, originals: Tensor, radius: Radius, norm: str) -> Radius:
    """Largest measured length of a change for which every reader of the file is inside the ball."""
    one_slack_in_every_pixel = torch.full_like(originals[:1], grid.slack)
    return radius - GEOMETRIES[norm].length(one_slack_in_every_pixel).sum().item()


def choose_grid(originals: Tensor, levels: int | None, unit: Tensor | None) -> Grid | None:
    """Build the grid of ``levels`` or ``unit``; ``None`` for float32 files.

    Raises:
        SettingsError: Both are given.
    """
    if levels is not None and unit is not None:
        raise SettingsError("expected levels (PNG) or unit (files on their own grid), got both; give one")
    if unit is not None:
        return grid_around(originals, unit)
    require_levels(levels)
    return None if levels is None else grid_of_levels(originals, levels)


def _shrink_into_ball(images: Tensor, originals: Tensor, radius: Radius, norm: str) -> Tensor:
    """Shrink float32 images slightly if float32 rounding left the ball; others keep every bit."""
    radius = radius.to(originals.device, torch.float64) if isinstance(radius, Tensor) else radius
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
