# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encode images for readers as bare gray levels, so that only what is visible tells the two conditions apart.

An image file would reveal its condition by its name, its metadata, its bit depth and its size, because perturbed pixels
compress worse. The server sends ``(H, W, C)`` unsigned 16-bit integers, little-endian, without a header: the same
number of bytes for an original and its encrypted version, and the same gray levels. Scanners write whole numbers, and a
window leaves a few hundred or thousand levels of them, while perturbed pixels take every value: the gaps would reveal
the original.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

COARSE_STEP, FINE_STEP = 1 / 255, 1 / 65535
"""Distance of two gray levels of 8 and of 16 bits."""

_SAME = 1e-6
"""Values closer than this count as one level, because float32 pixels are rounded whole numbers."""

_COARSEST_STEP = 2 * COARSE_STEP
"""Limit of the step: a scale of a dozen gray levels would remove the perturbation."""

_SMALLEST_GAP = 4 * FINE_STEP
"""Gaps finer than this are the rounding of 16 bits and invisible."""


@dataclass(frozen=True)
class GrayScale:
    """Equally spaced gray levels ``offset + k step`` in [0, 1], plus black and white."""

    offset: float
    step: float

    def nearest(self, image: Tensor) -> NDArray[np.float64]:
        """Round an image in [0, 1] to these levels."""
        pixels: NDArray[np.float64] = image.double().numpy()
        levels = self.offset + self.step * np.rint((pixels - self.offset) / self.step)
        # A window may clip between two levels.
        for end in (0.0, 1.0):
            levels = np.where(np.abs(pixels - end) <= np.abs(pixels - levels), end, levels)
        return levels.clip(0, 1)


FINE = GrayScale(0, FINE_STEP)


def gray_scale_of(image: Tensor) -> GrayScale:
    """Find the scale of an image's pixels: never coarser than 7 bits, and 16 bits where there is no other."""
    pixels = np.unique(image.double().numpy())
    if (np.abs(pixels / COARSE_STEP - np.rint(pixels / COARSE_STEP)) * COARSE_STEP).max() < _SAME:
        return GrayScale(0, COARSE_STEP)
    inside = pixels[(pixels > _SAME) & (pixels < 1 - _SAME)]
    inside = inside[np.diff(inside, prepend=-1) > _SAME]
    gaps = np.diff(inside)
    if len(gaps) < 2 or gaps.min() < _SMALLEST_GAP:
        return FINE
    numbers = np.concatenate([[0], np.rint(gaps / gaps[gaps < 1.5 * gaps.min()].mean()).cumsum()])
    step, offset = np.polyfit(numbers, inside, 1)
    if np.abs(offset + step * numbers - inside).max() > FINE_STEP:
        return FINE
    step /= np.ceil(step / _COARSEST_STEP - _SAME)
    return GrayScale(float(offset), float(step))


def shared_scale(original: Tensor, encrypted: Tensor) -> GrayScale:
    """The scale for both images of a case: the coarser of the two."""
    return max(gray_scale_of(original), gray_scale_of(encrypted), key=lambda scale: scale.step)


def encode_pixels(image: Tensor, scale: GrayScale) -> bytes:
    """Encode an image ``(C, H, W)`` in [0, 1] on a gray scale as ``(H, W, C)`` 16-bit integers."""
    grid = np.rint(scale.nearest(image) / FINE_STEP)
    return bytes(grid.transpose(1, 2, 0).astype(np.dtype("<u2")).tobytes())
