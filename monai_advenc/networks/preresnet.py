# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Pre-activation residual networks (He et al., 2016b), used as victims in the paper."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from monai_advenc.networks.stages import residual_stages
from monai_advenc.networks.stem import stem


class PreactivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions; no activation after the sum."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        activated = self.relu(self.norm1(features))
        residual = self.conv2(self.relu(self.norm2(self.conv1(activated))))
        # An identity shortcut passes the raw input on; only a projection uses the activated input.
        carried = features if isinstance(self.shortcut, nn.Identity) else self.shortcut(activated)
        total: Tensor = residual + carried
        return total


class PreResNet(nn.Sequential):
    """Stem, stages of pre-activation blocks that double the width and halve the grid, mean over the grid, linear.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; decides the reduction of the stem.
        width: Channels of the first stage.
        blocks: Residual blocks of each stage.
    """

    def __init__(
        self, num_classes: int, in_channels: int, image_size: int, *, width: int, blocks: Sequence[int]
    ) -> None:
        stages, channels = residual_stages(PreactivationBlock, width, blocks)
        super().__init__(
            stem(in_channels, width, image_size),
            *stages,
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, num_classes),
        )


def preresnet20(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """The CIFAR form of 20 layers: three stages of three blocks, width 16, 0.27 million parameters."""
    return PreResNet(num_classes, in_channels, image_size, width=16, blocks=(3, 3, 3))


def preresnet110(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """The CIFAR form of 110 layers: three stages of 18 blocks, width 16, 1.7 million parameters."""
    return PreResNet(num_classes, in_channels, image_size, width=16, blocks=(18, 18, 18))


def preresnet_small(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """A victim for CPUs: three stages of one block, width 16, 77 thousand parameters."""
    return PreResNet(num_classes, in_channels, image_size, width=16, blocks=(1, 1, 1))
