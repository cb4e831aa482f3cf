# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Input standardization as the first layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_advenc.errors import NetworkError, SettingsError
from monai_advenc.networks import Standardize, get_network, with_standardization


def test_standardized_data_have_zero_mean_and_unit_variance() -> None:
    images = 0.3 + 0.1 * torch.rand(20, 2, 16, 16) * torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    layer = with_standardization(nn.Identity(), images).get_submodule("standardize")
    result = layer(images)
    torch.testing.assert_close(result.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(result.std(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-4, rtol=0)


def test_values_are_set_in_a_copy_and_travel_with_the_weights() -> None:
    network = get_network("vgg_small", 3, 1, 32)
    result = with_standardization(network, torch.full((4, 1, 32, 32), 0.25))
    assert network.state_dict()["standardize.mean"].item() == 0
    assert result.state_dict()["standardize.mean"].item() == pytest.approx(0.25)
    assert not any("standardize" in name for name, _ in result.named_parameters())


def test_a_constant_channel_is_not_blown_up() -> None:
    network = with_standardization(nn.Identity(), torch.full((4, 1, 8, 8), 0.5))
    assert network(torch.full((1, 1, 8, 8), 0.501)).abs().max() <= 1.001


def test_standardizing_again_replaces_the_values() -> None:
    once = with_standardization(get_network("vgg_small", 3, 1, 32), torch.rand(4, 1, 32, 32))
    twice = with_standardization(once, torch.rand(4, 1, 32, 32) / 4)
    assert isinstance(twice, nn.Sequential)
    assert len(twice) == 2
    assert twice.state_dict()["standardize.mean"].item() < 0.2


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(NetworkError, match="3 channels, as the network was built for, got 1"):
        with_standardization(get_network("vgg_small", 3, 3, 32), torch.rand(4, 1, 32, 32))


@pytest.mark.parametrize(("mean", "std"), [([], []), ([0.0], [1.0, 1.0]), ([0.0], [0.0]), ([0.0], [-1.0])])
def test_values_that_cannot_be_are_refused(mean: list[float], std: list[float]) -> None:
    with pytest.raises(SettingsError):
        Standardize(mean, std)
