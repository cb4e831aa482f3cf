# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""First convolution of a network, which reduces large images to a smaller grid."""

from __future__ import annotations

from torch import nn

LARGEST_UNREDUCED_SIDE = 32
"""Images up to this side (CIFAR) keep their resolution; larger ones are halved once."""

LARGEST_HALVED_SIDE = 160
"""Images above this side (the paper's 320) are halved twice."""


def stem(in_channels: int, width: int, image_size: int, *, bias: bool = False) -> nn.Sequential:
    """Build a 3x3 convolution without activation that reduces the grid by 1, 2 or 4, depending on the image size.

    Args:
        in_channels: Channels of the images.
        width: Channels of the result.
        image_size: Side of the images, in pixels.
        bias: Whether the convolution has a bias.

    Returns:
        A module from ``(N, in_channels, H, W)`` to ``(N, width, H / reduction, W / reduction)``.
    """
    stride = 1 if image_size <= LARGEST_UNREDUCED_SIDE else 2
    layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=bias)]
    if image_size > LARGEST_HALVED_SIDE:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
