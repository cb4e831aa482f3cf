# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Filters that remove fine detail: Gaussian and median blur, and halving the size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from monai_advenc.attackers.countermeasures.attacker import Attacker
from monai_advenc.attackers.countermeasures.filtering import filter_attacker

_FILTERS: Final = "APBench, arXiv 2308.03258"


@dataclass(frozen=True)
class GaussianBlur:
    """Convolve with a Gaussian.

    Attributes:
        sigma: Its standard deviation in pixels.
    """

    sigma: float

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``; borders are mirrored."""
        return torch.from_numpy(ndimage.gaussian_filter(images.numpy(), (0, 0, self.sigma, self.sigma)))


@dataclass(frozen=True)
class Median:
    """Replace each pixel by the median of its neighborhood.

    Attributes:
        side: Side of the square neighborhood in pixels.
    """

    side: int

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``; borders are mirrored."""
        return torch.from_numpy(ndimage.median_filter(images.numpy(), (1, 1, self.side, self.side)))


@dataclass(frozen=True)
class SmallerAndBack:
    """Resize to a part of the side and back.

    Attributes:
        share: Of the side.
    """

    share: float

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``, bilinear, with antialiasing on the way down."""
        sides = tuple(images.shape[-2:])
        smaller = [max(1, round(self.share * side)) for side in sides]
        small = functional.interpolate(images, smaller, mode="bilinear", antialias=True, align_corners=False)
        return functional.interpolate(small, sides, mode="bilinear", align_corners=False)


SMOOTHING: Final[tuple[Attacker, ...]] = (
    filter_attacker("blur-0.5", "slight blurring", GaussianBlur(0.5), _FILTERS, sigma=0.5),
    filter_attacker("blur-1", "blurring", GaussianBlur(1.0), _FILTERS, sigma=1.0),
    filter_attacker("median-3", "a median filter", Median(3), _FILTERS, side=3),
    filter_attacker("resize-half", "halving the size", SmallerAndBack(0.5), _FILTERS, share=0.5),
)
