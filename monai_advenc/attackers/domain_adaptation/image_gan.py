# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The two additional networks of Generate To Adapt: an image generator and an auxiliary-classifier discriminator.

Their architecture is DCGAN's (Radford et al., 2016): strided 4x4 convolutions with batch norm. The paper's networks for
digits have the same widths at 32 pixels; here the number of stages depends on the image's side.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from monai_advenc.errors import DatasetError

WIDTH = 64
"""Channels at half the image's side; they double with every halving."""

LARGEST_FACTOR = 8
"""Channels stop doubling at this multiple of :data:`WIDTH`."""

LARGEST_FIRST_GRID = 8
"""Largest grid of the generator's first layer, which has most of the weights; larger grids are upsampled from it."""


class Generator(nn.Module):
    """Generates images from an embedding, noise and a condition.

    Args:
        inputs: Total length of the three inputs.
        channels: Channels of the images.
        side: Side of the images; see :func:`stage_widths`.
    """

    def __init__(self, inputs: int, channels: int, side: int) -> None:
        super().__init__()
        widths = stage_widths(side)[::-1]
        grid = side >> len(widths)
        first = min(grid, LARGEST_FIRST_GRID)
        layers: list[nn.Module] = [nn.ConvTranspose2d(inputs, widths[0], first, bias=False)]
        if first < grid:
            layers.append(nn.Upsample(grid))
        for width, following in pairwise(widths):
            layers += [*_activation(width), nn.ConvTranspose2d(width, following, 4, 2, 1, bias=False)]
        layers += [*_activation(widths[-1]), nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), nn.Sigmoid()]
        self.layers = nn.Sequential(*layers)
        self.apply(_initialize)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(N, inputs)`` to images ``(N, channels, side, side)`` in [0, 1]."""
        images: Tensor = self.layers(inputs[:, :, None, None])
        return images


class Discriminator(nn.Module):
    """Predicts whether an image is real, and its class.

    Args:
        num_classes: Number of classes.
        channels: Channels of the images.
        side: Side of the images; see :func:`stage_widths`.
    """

    def __init__(self, num_classes: int, channels: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in stage_widths(side):
            layers += [
                nn.Conv2d(channels, width, 4, 2, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(0.2),
            ]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.realness = nn.Linear(channels, 1)
        self.classes = nn.Linear(channels, num_classes)
        self.apply(_initialize)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images ``(N, channels, side, side)`` in [0, 1] to logits: realness ``(N,)``, classes ``(N, K)``."""
        features = self.layers(2 * images - 1).mean(dim=(2, 3))
        return self.realness(features).flatten(), self.classes(features)


def stage_widths(side: int) -> list[int]:
    """Channels after each halving of the image, down to the smallest grid of at least 2x2.

    Args:
        side: Side of the square image in pixels, a multiple of 8, at least 16.

    Raises:
        DatasetError: The side is below 16 or no multiple of 8.
    """
    if side < 16 or side % 8:
        raise DatasetError(f"expected images whose side is a multiple of 8, at least 16, got {side}; pad or crop them")
    count = 0
    while side % 2 == 0 and side > 2:
        side, count = side // 2, count + 1
    return [WIDTH * min(2**stage, LARGEST_FACTOR) for stage in range(count)]


def _activation(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(width), nn.ReLU()


def _initialize(module: nn.Module) -> None:
    """DCGAN's initial weights."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
