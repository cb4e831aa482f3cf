# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Features of a network: the input of its last linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from monai_advenc.errors import NetworkError
from monai_advenc.networks.ensemble import Ensemble


def features_and_logits(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Run one forward pass that also returns the input of the last linear layer.

    Gradients flow through both results, in training and in evaluation mode.

    Args:
        network: Ends in an ``nn.Linear``, like every network of :data:`monai_advenc.networks.NETWORKS` but
            ensembles.
        images: ``(N, C, H, W)``.

    Returns:
        Features ``(N, D)`` and logits ``(N, K)``.

    Raises:
        NetworkError: The network has no linear layer, or does not use it.
    """
    seen: list[Tensor] = []
    handle = last_linear(network).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        logits: Tensor = network(images)
    finally:
        handle.remove()
    if not seen:
        raise NetworkError("the network does not use its last linear layer; give a network that ends in it")
    return seen[-1], logits


def last_linear(network: nn.Module) -> nn.Linear:
    """Find the linear layer that was added last; its ``in_features`` is the number of features.

    Raises:
        NetworkError: There is none, or each member of an ensemble has one.
    """
    if any(isinstance(module, Ensemble) for module in network.modules()):
        raise NetworkError("expected a network that ends in one linear layer, got an ensemble; choose another network")
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise NetworkError("expected a network that ends in a linear layer, got none; use one from get_network")
    return layers[-1]
