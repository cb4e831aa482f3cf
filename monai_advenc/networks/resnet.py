# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Post-activation residual networks (He et al., 2016a): the paper's base networks, and a small one for CPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from monai_advenc.networks.stages import residual_stages
from monai_advenc.networks.stem import stem

LARGEST_CIFAR_STEM_SIDE = 64
"""Up to this side ResNet-18 and -50 get the CIFAR stem; above it, the 7x7 stem of stride 2 with max pooling."""


def resnet18(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """MONAI's 2-D ResNet-18, 11.2 million parameters: the paper's base network for brain tumors (section 5).

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; decides about the stem.

    Returns:
        A network from standardized images ``(N, C, H, W)`` to logits ``(N, num_classes)``.
    """
    from monai.networks.nets import resnet  # Imported here because it takes seconds, which other networks do not need.

    return _monai_resnet(resnet.resnet18, num_classes, in_channels, image_size)


def resnet50(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """MONAI's 2-D ResNet-50, 23.5 million parameters: the paper's base network for CIFAR-10 (section 3.3).

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; decides about the stem.

    Returns:
        A network from standardized images ``(N, C, H, W)`` to logits ``(N, num_classes)``.
    """
    from monai.networks.nets import resnet  # As above.

    return _monai_resnet(resnet.resnet50, num_classes, in_channels, image_size)


def _monai_resnet(build: Callable[..., nn.Module], num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    small: dict[str, Any] = {"conv1_t_size": 3, "conv1_t_stride": 1, "no_max_pool": True}
    large: dict[str, Any] = {"conv1_t_size": 7, "conv1_t_stride": 2}
    network = build(
        spatial_dims=2,
        n_input_channels=in_channels,
        num_classes=num_classes,
        bias_downsample=False,
        **(small if image_size <= LARGEST_CIFAR_STEM_SIDE else large),
    )
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # In-place activations would overwrite the features that hooks hold.
    return network


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


class ResNet(nn.Sequential):
    """Stem, stages of residual blocks that double the width and halve the grid, mean over the grid, linear.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; decides the stride of the stem.
        width: Channels of the first stage.
        blocks: Residual blocks of each stage.
    """

    def __init__(
        self, num_classes: int, in_channels: int, image_size: int, *, width: int, blocks: Sequence[int]
    ) -> None:
        stages, channels = residual_stages(ResidualBlock, width, blocks)
        super().__init__(
            stem(in_channels, width, image_size),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *stages,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, num_classes),
        )


def resnet_small(num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """Base network of the demo and for CPUs: three stages of one block, width 32, 307 thousand parameters."""
    return ResNet(num_classes, in_channels, image_size, width=32, blocks=(1, 1, 1))
