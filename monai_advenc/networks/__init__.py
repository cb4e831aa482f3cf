# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks by name: base networks that shape the perturbation, and victims that train on encrypted data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import nn

from monai_advenc.errors import SettingsError
from monai_advenc.networks.densenet import densenet_bc100, densenet_small
from monai_advenc.networks.normalize import Standardize, standardized, with_standardization
from monai_advenc.networks.preresnet import preresnet20, preresnet110, preresnet_small
from monai_advenc.networks.resnet import resnet18, resnet50, resnet_small
from monai_advenc.networks.vgg import vgg11, vgg19, vgg_small

__all__ = ["NETWORKS", "NetworkBuilder", "Standardize", "get_network", "require_known_networks", "with_standardization"]

NetworkBuilder = Callable[[int, int, int], nn.Module]
"""Builds a network on standardized images from the number of classes, the number of channels and the image side."""

NETWORKS: Mapping[str, NetworkBuilder] = MappingProxyType(
    {
        "resnet18": resnet18,
        "resnet50": resnet50,
        "densenet_bc100": densenet_bc100,
        "preresnet20": preresnet20,
        "preresnet110": preresnet110,
        "vgg11": vgg11,
        "vgg19": vgg19,
        "resnet_small": resnet_small,
        "vgg_small": vgg_small,
        "preresnet_small": preresnet_small,
        "densenet_small": densenet_small,
    }
)

SMALLEST_IMAGE_SIZE = 16
"""Smallest side: below it the deepest stage would have a single pixel."""


def require_known_networks(names: Sequence[str]) -> None:
    """Raise :class:`SettingsError` unless every name is in :data:`NETWORKS`."""
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        raise SettingsError(f"unknown network {unknown[0]!r}; choose one of {', '.join(sorted(NETWORKS))}")


def get_network(name: str, num_classes: int, in_channels: int, image_size: int, *, seed: int = 0) -> nn.Module:
    """Build a network with new random weights for images in [0, 1].

    Args:
        name: A name in :data:`NETWORKS`.
        num_classes: Number of logits, at least 2.
        in_channels: Channels of the images.
        image_size: Side of the (about) square images in pixels; decides only the stem, other sizes still work.
        seed: Seed of the initial weights; the global random state is neither used nor changed.

    Returns:
        A network from images ``(N, in_channels, H, W)`` to logits ``(N, num_classes)``, in training mode. Its first
        layer, a :class:`Standardize`, changes nothing until :func:`with_standardization` or training sets its values.

    Raises:
        SettingsError: There is no such network, or a number is too small.
    """
    require_known_networks([name])
    for what, value, least in (
        ("num_classes", num_classes, 2),
        ("in_channels", in_channels, 1),
        ("image_size", image_size, SMALLEST_IMAGE_SIZE),
    ):
        if value < least:
            raise SettingsError(f"expected {what} >= {least}, got {value}; check the data set")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = NETWORKS[name](num_classes, in_channels, image_size)
    return standardized(body, in_channels)
