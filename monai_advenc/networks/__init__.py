# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks by name: base networks that shape the perturbation, and victims that train on encrypted data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import torch
from torch import nn

from monai_advenc.errors import SettingsError
from monai_advenc.networks.densenet import BottleneckLayer, DenseNet
from monai_advenc.networks.ensemble import Ensemble
from monai_advenc.networks.normalize import Standardize, standardized, with_standardization
from monai_advenc.networks.residual import PreactivationBlock, ResidualNetwork
from monai_advenc.networks.resnet import monai_resnet
from monai_advenc.networks.vgg import VGG

__all__ = ["NETWORKS", "NetworkBuilder", "Standardize", "get_network", "require_known_networks", "with_standardization"]

NetworkBuilder = Callable[[int, int, int], nn.Module]
"""Builds a network on standardized images from the number of classes, the number of channels and the image side."""


def _together(classes: int, channels: int, side: int, *, members: Sequence[str]) -> Ensemble:
    return Ensemble([NETWORKS[name](classes, channels, side) for name in members])


NETWORKS: Mapping[str, NetworkBuilder] = MappingProxyType(
    {
        # The paper's base networks for brain tumors (section 5; 11.2 million parameters) and for CIFAR-10 (section 3.3;
        # 23.5 million).
        "resnet18": partial(monai_resnet, name="resnet18"),
        "resnet50": partial(monai_resnet, name="resnet50"),
        # The paper's victims, in their CIFAR forms: 0.8, 0.27, 1.7, 9.2 and 20.0 million parameters.
        "densenet_bc100": partial(DenseNet, growth=12, layers=(16, 16, 16), layer=BottleneckLayer),
        "preresnet20": partial(ResidualNetwork, width=16, blocks=(3, 3, 3), block=PreactivationBlock),
        "preresnet110": partial(ResidualNetwork, width=16, blocks=(18, 18, 18), block=PreactivationBlock),
        # Configurations A and E with batch norm and one linear layer.
        "vgg11": partial(VGG, stages=((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2), bias=True),
        "vgg19": partial(VGG, stages=((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4), bias=True),
        # A base network and three victims for the demo and for CPUs: 307, 72, 77 and 76 thousand parameters.
        "resnet_small": partial(ResidualNetwork, width=32, blocks=(1, 1, 1)),
        "vgg_small": partial(VGG, stages=((16, 16), (32, 32), (64, 64))),
        "preresnet_small": partial(ResidualNetwork, width=16, blocks=(1, 1, 1), block=PreactivationBlock),
        "densenet_small": partial(DenseNet, growth=12, layers=(4, 4, 4)),
        # A victim of three layers: perturbations of deep networks mislead shallow ones less. 5 thousand parameters.
        "shallow": partial(VGG, stages=((16,), (32,))),
        # A base network meant for error-minimizing perturbations that networks of several architectures learn. 154
        # thousand parameters.
        "ensemble_small": partial(_together, members=("vgg_small", "preresnet_small", "shallow")),
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
