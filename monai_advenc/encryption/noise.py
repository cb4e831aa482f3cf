# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Estimate the noise of an image, with which the size of a change can be compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from monai_advenc.encryption.regions import body

_MAD_OF_NORMAL = 0.6745
"""Median absolute deviation of a normal variable with a standard deviation of 1."""


def noise_of(pixels: NDArray[np.float64], inside: NDArray[np.bool_]) -> float:
    """Standard deviation of an image's noise, from the finest diagonal details (Donoho and Johnstone 1994).

    Edges and structures leave few large details, which the median ignores.

    Args:
        pixels: ``(H, W)``.
        inside: ``(H, W)``: where to look; the background of medical images is often exactly black.
    """
    height, width = (side // 2 * 2 for side in pixels.shape)
    quarters = [pixels[row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]
    within = [inside[row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]
    details = (quarters[0] - quarters[1] - quarters[2] + quarters[3]) / 2
    chosen = details[np.logical_and.reduce(within)]
    return float(np.median(np.abs(chosen))) / _MAD_OF_NORMAL if len(chosen) else 0.0


def noise_in_body(image: Tensor) -> float:
    """Standard deviation of the noise within the body, on the scale of the pixels; mean over channels.

    Args:
        image: ``(C, H, W)`` in [0, 1].

    Raises:
        ImageError: The image is constant, so it has no body.
    """
    inside = body(image)[0].numpy()
    return float(np.mean([noise_of(channel.double().numpy(), inside) for channel in image]))
