# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Standardize the input in a network's first layer, so that all other code works on pixels in [0, 1]."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from monai_advenc.errors import NetworkError, SettingsError

SMALLEST_STD = 1e-3
"""Smallest divisor, so that a channel that hardly varies (a blank one) is shifted but not amplified."""


class Standardize(nn.Module):
    """Subtract a mean and divide by a standard deviation, channel by channel.

    The values are buffers: checkpoints and device transfers include them, training does not change them.

    Args:
        mean: One value per channel, on the [0, 1] pixel scale.
        std: One value per channel, on the [0, 1] pixel scale, each positive.

    Raises:
        SettingsError: The two differ in length, or a standard deviation is not positive.
    """

    if TYPE_CHECKING:
        # As postponed annotations they would be strings, which TorchScript does not resolve.
        mean: Tensor
        std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean:
            raise SettingsError(f"expected one mean and one std per channel, got {len(mean)} and {len(std)}; give both")
        if not all(value > 0 for value in std):
            raise SettingsError(f"expected std > 0, got {list(std)}; leave constant channels out")
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` in [0, 1] to the same shape with about zero mean and unit variance."""
        return (images - self.mean) / self.std


def standardized(body: nn.Module, channels: int) -> nn.Sequential:
    """Put an identity :class:`Standardize` before ``body``; see :func:`with_standardization`."""
    first = Standardize([0.0] * channels, [1.0] * channels)
    return nn.Sequential(OrderedDict([("standardize", first), ("body", body)]))


def with_standardization(network: nn.Module, images: Tensor) -> nn.Module:
    """Copy ``network`` with a first layer that standardizes data like ``images``.

    Args:
        network: From :func:`monai_advenc.networks.get_network`, or any network on images in [0, 1]; the function adds
            the layer to the latter.
        images: The training images ``(N, C, H, W)``, float in [0, 1].

    Returns:
        The copy, on the network's device; ``network`` is not changed.

    Raises:
        NetworkError: The network was built for another number of channels.
    """
    result = copy.deepcopy(network)
    if not (isinstance(result, nn.Sequential) and len(result) and isinstance(result[0], Standardize)):
        parameter = next(result.parameters(), None)
        result = standardized(result, images.shape[1])
        if parameter is not None:
            result.to(parameter.device)
    first = result[0]
    assert isinstance(first, Standardize)
    if first.mean.shape[1] != images.shape[1]:
        raise NetworkError(
            f"expected images of {first.mean.shape[1]} channels, as the network was built for, "
            f"got {images.shape[1]}; build it with in_channels={images.shape[1]}"
        )
    # In float64, because a float32 sum over millions of pixels depends on the order of summation.
    mean = images.mean(dim=(0, 2, 3), dtype=torch.float64)
    std = (images.double() - mean.view(1, -1, 1, 1)).square().mean(dim=(0, 2, 3)).sqrt().clamp_min(SMALLEST_STD)
    first.mean.copy_(mean.view(1, -1, 1, 1))
    first.std.copy_(std.view(1, -1, 1, 1))
    return result
