# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Images of smooth noise on which networks are tried when they are prepared."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PROBE_IMAGES = 4

PROBE_ROWS = 32
"""Images of the probe whether rows of a batch depend on each other, where the batch size is not known."""

GRAINS = (8, 2)
"""Grain sizes of the smooth noise images, in pixels: in some networks the coarse ones, in others the fine ones make
activations at least as large as real images."""


def smooth_images(image_shape: tuple[int, int, int], grain: int, count: int, *, seed: int) -> Tensor:
    """Images ``(count, C, H, W)`` in [0, 1] of smooth noise with a grain of ``grain`` pixels."""
    channels, height, width = image_shape
    sides = max(1, height // grain), max(1, width // grain)
    coarse = torch.rand(count, channels, *sides, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(coarse, size=(height, width), mode="bilinear")
