# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The networks by name: what they take, give and weigh."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn

from monai_advenc.errors import SettingsError
from monai_advenc.networks import NETWORKS, get_network

SMALL = [name for name in NETWORKS if name.endswith("_small")]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_170_245),
        ("resnet_small", 307_429),
        ("vgg_small", 72_341),
        ("preresnet_small", 77_237),
        ("densenet_small", 75_923),
    ],
)
def test_parameter_counts_are_those_of_the_documentation(name: str, parameters: int) -> None:
    network = get_network(name, 5, 1, 64)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "parameters", "printed"),
    [
        ("resnet18", 11_173_962, None),
        ("resnet50", 23_520_842, None),
        ("densenet_bc100", 769_162, "0.8M"),  # Huang et al. 2017, table 2
        ("preresnet20", 272_282, "0.27M"),  # He et al. 2016a, table 6, for the same depth and width
        ("preresnet110", 1_730_522, "1.7M"),  # He et al. 2016a, table 6
        ("vgg11", 9_231_114, None),
        ("vgg19", 20_040_522, "20.04M"),  # the table of bearpaw/pytorch-classification
    ],
)
def test_the_papers_networks_have_their_published_size_on_cifar10(
    name: str, parameters: int, printed: str | None
) -> None:
    """Where no publication prints a count, that of the widely used kuangliu/pytorch-cifar."""
    count = sum(parameter.numel() for parameter in get_network(name, 10, 3, 32).parameters())
    assert count == parameters
    if printed is not None:
        digits = len(printed.rstrip("M").partition(".")[2])
        assert f"{count / 1e6:.{digits}f}M" == printed


def test_resnet18_takes_the_large_stem_above_64_pixels() -> None:
    assert get_network("resnet18", 5, 1, 64).get_submodule("body.conv1").weight.shape[-1] == 3
    assert get_network("resnet18", 5, 1, 65).get_submodule("body.conv1").weight.shape[-1] == 7


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 48), (1, 176)])
def test_every_network_maps_images_to_logits_and_back_to_an_input_gradient(name: str, channels: int, side: int) -> None:
    network = get_network(name, 4, channels, side).eval()
    images = torch.rand(2, channels, side, side, requires_grad=True)
    logits = network(images)
    assert logits.shape == (2, 4)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), images)
    assert gradient.isfinite().all()
    assert gradient.flatten(1).norm(dim=1).min() > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_traced(name: str) -> None:
    network = get_network(name, 3, 1, 32).eval()
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(fx.symbolic_trace(network)(images), network(images))


@pytest.mark.parametrize("name", NETWORKS)
def test_no_activation_works_in_place(name: str) -> None:
    network = get_network(name, 3, 1, 32)
    assert not any(module.inplace for module in network.modules() if isinstance(module, nn.ReLU))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("side", "features"), [(32, 32), (64, 32), (160, 80), (320, 80)])
def test_the_stem_of_small_networks_keeps_the_grid_affordable(name: str, side: int, features: int) -> None:
    first = get_network(name, 3, 1, side).get_submodule("body.members.0.0" if "ensemble" in name else "body.0")
    assert first(torch.zeros(1, 1, side, side)).shape[-1] == features


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = get_network("vgg_small", 3, 1, 32, seed=7).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    same, other = (get_network("vgg_small", 3, 1, 32, seed=seed).state_dict() for seed in (7, 8))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["body.0.0.weight"], other["body.0.0.weight"])


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(SettingsError, match=r"'resnet99'; choose one of densenet_bc100, .*vgg_small"):
        get_network("resnet99", 5, 1, 64)


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [((1, 1, 64), "num_classes >= 2"), ((5, 0, 64), "in_channels >= 1"), ((5, 1, 8), "image_size >= 16")],
)
def test_numbers_that_cannot_be_are_refused(numbers: tuple[int, int, int], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        get_network("resnet_small", *numbers)
