# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""MONAI's 2-D ResNets (He et al., 2016a): the paper's base networks."""

from __future__ import annotations

from typing import Any

from torch import nn

LARGEST_CIFAR_STEM_SIDE = 64
"""Up to this side a ResNet gets the CIFAR stem; above it, the 7x7 stem of stride 2 with max pooling."""


def monai_resnet(num_classes: int, in_channels: int, image_size: int, *, name: str) -> nn.Module:
    """Build one of MONAI's ResNets for images in two dimensions.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; decides about the stem.
        name: MONAI's name, such as ``"resnet18"``.

    Returns:
        A network from standardized images ``(N, C, H, W)`` to logits ``(N, num_classes)``.
    """
    from monai.networks.nets import resnet  # Imported here because it takes seconds, which other networks do not need.

    small: dict[str, Any] = {"conv1_t_size": 3, "conv1_t_stride": 1, "no_max_pool": True}
    large: dict[str, Any] = {"conv1_t_size": 7, "conv1_t_stride": 2}
    network: nn.Module = getattr(resnet, name)(
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
