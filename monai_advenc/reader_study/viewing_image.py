# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Images as readers get them: bare gray levels of one depth, so that nothing but the pixels tells one from another.

A file would: its name, its metadata, its bit depth, and its size, because perturbed pixels compress worse. What is
served is ``(H, W, C)`` unsigned 16-bit integers, little-endian, without a header: the same number of bytes for an
original and its encrypted version.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

COARSE_LEVELS, FINE_LEVELS = 255, 65535
"""Largest gray level of the two grids."""

_ROUNDING = 1e-4
"""Of a gray level: float32 pixels that were k / 255 once."""


def common_levels(images: Iterable[Tensor]) -> int:
    """The grid on which all images of a study are shown: that of 8 bits if any of them has no more.

    A gap-toothed histogram would give 8-bit originals away beside 16-bit encrypted images.
    """
    return COARSE_LEVELS if any(_is_coarse(image) for image in images) else FINE_LEVELS


def _is_coarse(image: Tensor) -> bool:
    scaled = image * COARSE_LEVELS
    return bool((scaled - scaled.round()).abs().max() < _ROUNDING)


def encode_pixels(image: Tensor, levels: int) -> bytes:
    """An image ``(C, H, W)`` in [0, 1], rounded to ``levels``, as ``(H, W, C)`` 16-bit integers."""
    stretch = FINE_LEVELS // levels
    grid = torch.round(image.double() * levels) * stretch
    return bytes(grid.numpy().transpose(1, 2, 0).astype(np.dtype("<u2")).tobytes())
