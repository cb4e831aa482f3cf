# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A network's features: what its last linear layer sees."""

from __future__ import annotations

from torch import Tensor, nn

from monai_advenc.errors import NetworkError


def features_and_logits(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """One forward pass that also gives the input of the last linear layer.

    Gradients flow through both results, in whichever mode the network is.

    Args:
        network: Classifies by an ``nn.Linear`` at its end, as every network of :data:`monai_advenc.networks.NETWORKS`.
        images: ``(N, C, H, W)``.

    Returns:
        Features ``(N, D)`` and logits ``(N, K)``.

    Raises:
        NetworkError: The network has no linear layer, or makes no use of it.
    """
    seen: list[Tensor] = []
    handle = last_linear(network).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        logits: Tensor = network(images)
    finally:
        handle.remove()
    if not seen:
        raise NetworkError("the network makes no use of its last linear layer; give one that classifies by it")
    return seen[-1], logits


def last_linear(network: nn.Module) -> nn.Linear:
    """The linear layer that was added to the network last; its ``in_features`` is the number of features.

    Raises:
        NetworkError: There is none.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise NetworkError("expected a network that ends in a linear layer, got none; use one from get_network")
    return layers[-1]
