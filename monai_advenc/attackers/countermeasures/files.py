# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Files of less information: JPEG, fewer gray levels, no color."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from monai_advenc.attackers.countermeasures.attacker import Attacker, each_image
from monai_advenc.attackers.countermeasures.filtering import filter_attacker
from monai_advenc.data.images.exports import jpeg

QUALITIES: Final = (90, 75, 50, 30, 10)
BITS: Final = (4, 2)

_SQUEEZING: Final = "Liu et al. 2023 (image shortcut squeezing), arXiv 2301.13838"


@dataclass(frozen=True)
class Jpeg:
    """Write images as JPEG files and read them back.

    Attributes:
        quality: From 1 to 95.
    """

    quality: int

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` with one or three channels, on 8 bits."""
        return each_image(jpeg(self.quality), images)


@dataclass(frozen=True)
class BitDepth:
    """Round pixels to as many levels as so many bits have.

    Attributes:
        bits: From 1 to 8.
    """

    bits: int

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``."""
        levels = float(2**self.bits - 1)
        return torch.round(images * levels) / levels


@dataclass(frozen=True)
class WithoutColor:
    """Give all channels their mean; gray images stay as they are."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``."""
        return images.mean(dim=1, keepdim=True).expand_as(images).contiguous()


FILES: Final[tuple[Attacker, ...]] = (
    *(
        filter_attacker(
            f"jpeg-{quality}", f"JPEG compression at quality {quality}", Jpeg(quality), _SQUEEZING, quality=quality
        )
        for quality in QUALITIES
    ),
    *(
        filter_attacker(f"bits-{bits}", f"rounding to {bits} bits", BitDepth(bits), _SQUEEZING, bits=bits)
        for bits in BITS
    ),
    filter_attacker("gray", "removing color", WithoutColor(), _SQUEEZING),
)
