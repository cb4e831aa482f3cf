# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Input standardization as a network's first layer, so that everything outside works on pixels in [0, 1]."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from monai_advenc.errors import NetworkError, SettingsError

SMALLEST_STD = 1e-3
"""A channel that hardly varies (a blank one, say) is shifted, but not blown up: its divisor never falls below this."""


class Standardize(nn.Module):
    """Subtract a mean and divide by a standard deviation, channel by channel.

    The values are buffers: they travel in the checkpoint and to the device with the weights, and are not trained.

    Args:
        mean: One value a channel, on the [0, 1] pixel scale.
        std: One value a channel, on the [0, 1] pixel scale, each positive.

    Raises:
        SettingsError: The two differ in length, or a standard deviation is not positive.
    """

    if TYPE_CHECKING:
        # At run time they would be strings, which TorchScript takes for unknown types.
        mean: Tensor
        std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean:
            raise SettingsError(
                f"expected one mean and one standard deviation a channel, got {len(mean)} and {len(std)}; give both"
            )
        if not all(value > 0 for value in std):
            raise SettingsError(f"expected standard deviations > 0, got {list(std)}; leave constant channels out")
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` in [0, 1] to the same shape, about zero mean and unit variance."""
        return (images - self.mean) / self.std


def standardized(body: nn.Module, channels: int) -> nn.Sequential:
    """``body`` behind a :class:`Standardize` that changes nothing yet; see :func:`with_standardization`."""
    first = Standardize([0.0] * channels, [1.0] * channels)
    return nn.Sequential(OrderedDict([("standardize", first), ("body", body)]))


def with_standardization(network: nn.Module, images: Tensor) -> nn.Module:
    """A copy of ``network`` whose first layer standardizes data like ``images``.

    Args:
        network: From :func:`monai_advenc.networks.get_network`, or any network on images in [0, 1]; the latter gets
            the layer put before it.
        images: The training images ``(N, C, H, W)``, float in [0, 1].

    Returns:
        The copy, on the network's device; ``network`` itself stays as it is.

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
    # In float64: over millions of pixels a float32 sum would drift with the order of summation.
    mean = images.mean(dim=(0, 2, 3), dtype=torch.float64)
    std = (images.double() - mean.view(1, -1, 1, 1)).square().mean(dim=(0, 2, 3)).sqrt().clamp_min(SMALLEST_STD)
    first.mean.copy_(mean.view(1, -1, 1, 1))
    first.std.copy_(std.view(1, -1, 1, 1))
    return result
