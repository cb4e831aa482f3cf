# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Densely connected networks (Huang et al., 2017), used as victims in the paper."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_advenc.networks.stem import stem


class DenseLayer(nn.Module):
    """Batch norm, ReLU and a 3x3 convolution whose few new channels join the old ones."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(in_channels, growth, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, in_channels + growth, H, W)``."""
        return torch.cat([features, self.grow(features)], dim=1)

    def grow(self, features: Tensor) -> Tensor:
        """Return only the new channels, ``(N, growth, H, W)``."""
        new: Tensor = self.conv(self.relu(self.norm(features)))
        return new


class BottleneckLayer(nn.Module):
    """A dense layer after a 1x1 convolution that reduces the channels to four times the growth."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.reduce = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.layer = DenseLayer(4 * growth, growth)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, in_channels + growth, H, W)``."""
        reduced = self.reduce(self.relu(self.norm(features)))
        return torch.cat([features, self.layer.grow(reduced)], dim=1)


class Transition(nn.Sequential):
    """Layer between two dense blocks: batch norm, ReLU, 1x1 convolution to fewer channels, half the grid."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.AvgPool2d(2),
        )


class DenseNet(nn.Sequential):
    """Stem, dense blocks with halving transitions between them, mean over the grid, linear.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; decides the reduction of the stem.
        growth: Channels that each layer adds.
        layers: Dense layers of each block.
        layer: Kind of the layers: plain, or with a bottleneck (the B of DenseNet-BC).
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        *,
        growth: int,
        layers: Sequence[int],
        layer: type[DenseLayer] | type[BottleneckLayer] = DenseLayer,
    ) -> None:
        channels = 2 * growth
        modules: list[nn.Module] = [stem(in_channels, channels, image_size)]
        for block, count in enumerate(layers):
            if block > 0:
                modules.append(Transition(channels, channels // 2))
                channels //= 2
            for _ in range(count):
                modules.append(layer(channels, growth))
                channels += growth
        super().__init__(
            *modules,
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, num_classes),
        )
