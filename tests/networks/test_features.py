# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Features of a network: what its last linear layer sees."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.errors import NetworkError
from monai_advenc.networks import NETWORKS, get_network
from monai_advenc.networks.features import features_and_logits, last_linear


@pytest.mark.parametrize("name", [name for name in NETWORKS if not name.startswith("ensemble")])
def test_the_last_layer_turns_features_into_the_same_logits_as_ever(name: str) -> None:
    network = get_network(name, 4, 1, 16).eval()
    images = torch.rand(2, 1, 16, 16)
    features, logits = features_and_logits(network, images)
    assert features.shape == (2, last_linear(network).in_features)
    assert torch.equal(logits, network(images))
    assert torch.equal(logits, last_linear(network)(features))


def test_gradients_reach_the_images_through_the_features() -> None:
    images = torch.rand(2, 1, 16, 16, requires_grad=True)
    features, _ = features_and_logits(get_network("vgg_small", 3, 1, 16).eval(), images)
    (gradient,) = torch.autograd.grad(features.sum(), images)
    assert gradient.norm() > 0


def test_nothing_stays_attached_even_if_the_pass_fails() -> None:
    network = get_network("resnet18", 3, 1, 16).eval()
    features_and_logits(network, torch.rand(1, 1, 16, 16))
    with pytest.raises(RuntimeError):
        features_and_logits(network, torch.rand(1, 2, 16, 16))
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_network_without_a_linear_layer_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(NetworkError, match="ends in a linear layer, got none"):
        features_and_logits(network, torch.rand(1, 1, 16, 16))


def test_an_ensemble_has_no_last_layer() -> None:
    with pytest.raises(NetworkError, match="got an ensemble; choose another"):
        features_and_logits(get_network("ensemble_small", 3, 1, 16), torch.rand(1, 1, 16, 16))


class Idle(nn.Module):
    """Has a linear layer for show."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def test_a_linear_layer_that_is_not_used_is_no_end() -> None:
    with pytest.raises(NetworkError, match="does not use its last linear layer"):
        features_and_logits(Idle(), torch.rand(1, 1, 2, 2))
