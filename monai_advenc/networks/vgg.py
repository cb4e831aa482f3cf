# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Plain stacks of 3x3 convolutions with batch norm (Simonyan and Zisserman, 2014), used as victims in the paper."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from monai_advenc.networks.stem import stem


class VGG(nn.Sequential):
    """Stages of 3x3 convolutions, halved between stages by max pooling; mean over the grid, linear.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; decides the reduction of the first convolution.
        stages: Widths of each stage's convolutions.
        bias: Whether convolutions have a bias, as in the original; before batch norm it has no effect.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        *,
        stages: Sequence[Sequence[int]],
        bias: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        channels = in_channels
        for index, widths in enumerate(stages):
            if index > 0:
                layers.append(nn.MaxPool2d(2))
            for width in widths:
                first = not layers
                convolution = nn.Conv2d(channels, width, 3, padding=1, bias=bias)
                layers += [
                    stem(channels, width, image_size, bias=bias) if first else convolution,
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                ]
                channels = width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
