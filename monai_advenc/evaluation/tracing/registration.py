# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Find where a leaked image lies in its original: the scale and shift of each axis, after resizing and cropping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import match_template
from skimage.transform import resize

Image = NDArray[np.float64]
"""Gray pixels ``(H, W)``."""

_COARSE_SIDE = 48
_MARGIN = 0.12
"""How much a leaked image may go beyond its original on each side, as a share of the side."""

_CUTS = (1.0, 0.975, 0.95, 0.925, 0.9, 0.875, 0.85, 0.8, 0.75)
"""Shares of a side left by cropping that are tried for images that were resized afterwards."""

_TRIED, _CERTAIN = 2, 0.99
_BLURS = (2.0, 0.7)
_STEPS, _SMALL_STEP = 10, 3e-3


@dataclass(frozen=True)
class Placement:
    """Where the pixels of a leaked image lie in its original: ``scale * leaked + shift``, in pixels.

    Attributes:
        scale: For rows and columns, ``(2,)``.
        shift: For rows and columns, ``(2,)``.
        likeness: Correlation of the two images at their pixels.
    """

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]
    likeness: float

    def onto(self, original: Image, shape: tuple[int, ...], order: int = 3) -> Image:
        """The original on the leaked image's grid, of ``shape``; outside of it its border is repeated."""
        found: Image = ndimage.affine_transform(
            original, self.scale, self.shift, output_shape=shape, order=order, mode="nearest"
        )
        return found

    def back(self, leaked: Image, shape: tuple[int, ...]) -> Image:
        """Values of the leaked image's grid on the original's, of ``shape``; zeros where there are none."""
        scale, shift = 1 / self.scale, -self.shift / self.scale
        found: Image = ndimage.affine_transform(leaked, scale, shift, output_shape=shape, order=1, mode="constant")
        return found


def likeness(first: Image, second: Image) -> float:
    """Correlation of two images of one shape; 0 if one is constant."""
    first, second = first - first.mean(), second - second.mean()
    length = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / length) if length > 0 else 0.0


def register(original: Image, leaked: Image) -> Placement:
    """Find the placement of a leaked image in its original.

    Gray levels may have been mapped by any line with positive slope. Rotations and reflections are not tried.

    Args:
        original: Gray pixels ``(H, W)``.
        leaked: Gray pixels ``(h, w)``.

    Returns:
        The placement with the highest likeness among those found; a low one says that the images are of different
        things.
    """
    full = np.array(original.shape) / leaked.shape
    found = refine(original, leaked, Placement(full, (full - 1) / 2, 0.0))
    if found.likeness >= _CERTAIN:  # Not cropped: the usual case, and a search takes longer.
        return found
    guesses = coarse_placements(original, leaked)[:_TRIED]
    return max((found, *(refine(original, leaked, guess) for guess in guesses)), key=lambda each: each.likeness)


def coarse_placements(original: Image, leaked: Image) -> list[Placement]:
    """Find the best shift for each scale that is tried, on small images; the likeliest first."""
    reduction = max(1.0, max(original.shape) / _COARSE_SIDE)
    small = _resized(original, [side / reduction for side in original.shape])
    margin = [round(_MARGIN * side) for side in small.shape]
    padded = np.pad(small, [(by, by) for by in margin], mode="edge")
    full = np.array(original.shape) / leaked.shape
    scales = [full * cut for cut in _CUTS]
    if original.shape != leaked.shape:
        scales.append(np.ones(2))  # Cropped, and not resized.
    # Small once, so that the scales that follow take little time.
    shrunk = _resized(leaked, [max(2.0, side * by / reduction) for side, by in zip(leaked.shape, full, strict=True)])
    found = []
    for scale in scales:
        template = _resized(shrunk, [side * by / reduction for side, by in zip(leaked.shape, scale, strict=True)])
        if any(side > most for side, most in zip(template.shape, padded.shape, strict=True)) or template.std() == 0:
            continue
        matched = match_template(padded, template)
        place = np.array(np.unravel_index(matched.argmax(), matched.shape))
        corner = (place - margin) * np.array(original.shape) / small.shape
        # Corners of pixels coincide, so their centers are half a pixel inside.
        found.append(Placement(scale, corner + (scale - 1) / 2, float(matched.max())))
    return sorted(found, key=lambda each: -each.likeness)


def _resized(image: Image, sides: list[float]) -> Image:
    shape = [max(2, round(side)) for side in sides]
    found: Image = resize(image, shape, order=1, anti_aliasing=True)
    return found


def refine(original: Image, leaked: Image, guess: Placement) -> Placement:
    """Improve a placement by Gauss-Newton steps on smoothed images."""
    placement = guess
    for blur in _BLURS:
        # As smooth as the leaked one, whose pixels may be larger.
        smooth = ndimage.gaussian_filter(
            original, [np.hypot(blur * by, 0.4 * max(0.0, by - 1)) for by in placement.scale]
        )
        target = ndimage.gaussian_filter(leaked, blur)
        placement = _descended(smooth, target, placement)
    return placement


def _descended(original: Image, leaked: Image, start: Placement) -> Placement:
    rows, columns = (np.arange(side) - (side - 1) / 2 for side in leaked.shape)
    slopes: list[Image] = list(np.gradient(original))
    # Pixels at the ends of the gray scale may have been cut off there.
    inside = (leaked > leaked.min()) & (leaked < leaked.max())
    placement = Placement(start.scale, start.shift, -1.0)
    scale, shift = start.scale, start.shift
    for _ in range(_STEPS):
        current = Placement(scale, shift, 0.0)
        shown = current.onto(original, leaked.shape)
        reached = likeness(shown[inside], leaked[inside]) if inside.any() else 0.0
        if reached <= placement.likeness:
            break
        placement = Placement(current.scale, current.shift, reached)
        down, across = (current.onto(slope, leaked.shape, order=1) for slope in slopes)
        features = [shown, np.ones_like(shown), down, down * rows[:, None], across, across * columns[None]]
        table = np.stack([each[inside] for each in features])
        solved = np.linalg.lstsq(table @ table.T, table @ leaked[inside], rcond=1e-12)[0]
        if solved[0] <= 0:
            break
        by_row, row_scale, by_column, column_scale = solved[2:] / solved[0]
        middle = [(side - 1) / 2 for side in leaked.shape]
        step = np.array([by_row - row_scale * middle[0], by_column - column_scale * middle[1]])
        scale, shift = scale + np.array([row_scale, column_scale]), shift + step
        if (scale <= 0).any() or max(abs(by_row), abs(by_column)) > 0.5 * max(original.shape):
            break
        if max(abs(by_row), abs(by_column), abs(row_scale) * middle[0], abs(column_scale) * middle[1]) < _SMALL_STEP:
            break
    return placement
