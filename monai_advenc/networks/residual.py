# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Residual networks of few channels: activated after each sum (He et al., 2016a) or before (He et al., 2016b)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from monai_advenc.networks.stem import stem


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, activated after the sum."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        residual = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(features)))))
        activated: Tensor = self.relu(residual + self.shortcut(features))
        return activated


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


class ResidualNetwork(nn.Sequential):
    """Stem, stages of residual blocks that double the width and halve the grid, mean over the grid, linear.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; decides the reduction of the stem.
        width: Channels of the first stage.
        blocks: Residual blocks of each stage.
        block: Kind of the blocks; decides whether batch norm and ReLU come after the stem or after the last stage.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        *,
        width: int,
        blocks: Sequence[int],
        block: type[ResidualBlock] | type[PreactivationBlock] = ResidualBlock,
    ) -> None:
        stages: list[nn.Module] = []
        channels = width
        for stage, count in enumerate(blocks):
            for number in range(count):
                stages.append(block(channels, width * 2**stage, 2 if stage > 0 and number == 0 else 1))
                channels = width * 2**stage
        if block is PreactivationBlock:
            stages = [*stages, nn.BatchNorm2d(channels), nn.ReLU()]
        else:
            stages = [nn.BatchNorm2d(width), nn.ReLU(), *stages]
        super().__init__(
            stem(in_channels, width, image_size),
            *stages,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, num_classes),
        )
