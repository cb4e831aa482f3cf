"""Fused or not, a network gives the same logits and the same gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from monai.networks.nets import resnet18
from torch import Tensor, fx, nn
from torch.nn import functional

from monai_advenc.acceleration import fold_batch_norm
from monai_advenc.convolution_fusion import fuse_activations
from monai_advenc.frozen_convolution import FrozenConvolution, packing_works
from monai_advenc.networks import get_network
from monai_advenc.perturbation import target_gradient

needs_packing = pytest.mark.skipif(not packing_works(), reason="this build of torch cannot pack weights")


class Graph(nn.Module):
    """Two convolutions with what a test does with them."""

    def __init__(self, compute: Callable[[nn.Module, nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.one, self.other = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.compute = compute

    def forward(self, features: Tensor) -> Tensor:
        return self.compute(self.one, self.other, features)


def fused(network: nn.Module) -> nn.Module:
    return fuse_activations(fx.symbolic_trace(copy.deepcopy(network).eval().requires_grad_(False)))


def count(network: nn.Module) -> int:
    return sum(isinstance(module, FrozenConvolution) for module in network.modules())


def in_place(one: nn.Module, other: nn.Module, features: Tensor) -> Tensor:
    total = one(features)
    total += features
    return functional.relu(total, inplace=True)


def seen_twice(one: nn.Module, other: nn.Module, features: Tensor) -> Tensor:
    before = one(features)
    return torch.relu(before) + before


def broadcast(one: nn.Module, other: nn.Module, features: Tensor) -> Tensor:
    return torch.relu(one(features) + features.mean(dim=(2, 3), keepdim=True))


@needs_packing
@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (lambda one, other, x: torch.relu(one(x)), 1),
        (lambda one, other, x: functional.relu(one(x) + x), 1),
        (lambda one, other, x: functional.relu(x + one(x)), 1),
        (lambda one, other, x: torch.relu(torch.add(one(x), other(x))), 1),
        (lambda one, other, x: torch.relu(other(torch.relu(one(x))) + x), 2),
        (lambda one, other, x: torch.relu(one(x)) + torch.relu(one(x + 1)), 2),
        (lambda one, other, x: torch.relu(torch.add(one(x), x, alpha=2)), 0),
        (lambda one, other, x: torch.relu(one(x) + 1), 0),
        (in_place, 1),
        (broadcast, 1),
        (seen_twice, 0),
    ],
)
def test_whatever_surrounds_a_convolution_the_result_stays(
    compute: Callable[[nn.Module, nn.Module, Tensor], Tensor], expected: int
) -> None:
    plain = Graph(compute).eval().requires_grad_(False)
    faster = fused(plain)
    assert count(faster) == expected
    features = torch.randn(2, 4, 7, 9, generator=torch.Generator().manual_seed(1))
    results = []
    for network in (plain, faster):
        given = features.clone().requires_grad_(True)
        result = network(given)
        results.append((result, torch.autograd.grad((result * result.detach().cos()).sum(), given)[0]))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def changed_in_between(one: nn.Module, other: nn.Module, features: Tensor) -> Tensor:
    features = features * 1
    before = one(features)
    features.mul_(2)
    return torch.relu(before) + features


@needs_packing
@torch.no_grad()
def test_a_convolution_does_not_move_past_a_change_of_its_features() -> None:
    plain = Graph(changed_in_between).eval()
    features = torch.randn(2, 4, 7, 9)
    torch.testing.assert_close(fused(plain)(features), plain(features))


@needs_packing
@pytest.mark.parametrize(
    ("build", "activations"),
    [
        (lambda: get_network("resnet18", 5, 1, 64, seed=0), 17),
        (lambda: get_network("vgg11", 5, 1, 64, seed=0), 8),
        (lambda: resnet18(spatial_dims=2, n_input_channels=1, num_classes=5, conv1_t_stride=2), 16),
    ],
)
def test_a_known_network_is_fused_throughout(build: Callable[[], nn.Module], activations: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build()
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    network.train()(images)
    folded = fold_batch_norm(network)
    expected, logits = target_gradient(folded, images, torch.tensor([0, 1])), folded(images)
    faster = fuse_activations(folded)
    assert count(faster) == activations
    for twin in (faster, copy.deepcopy(faster)):
        torch.testing.assert_close(twin(images), logits, atol=1e-4, rtol=1e-4)
        # Rounding may carry a feature over zero, which changes some pixels' gradient.
        found = target_gradient(twin, images, torch.tensor([0, 1]))
        assert functional.cosine_similarity(found.flatten(1), expected.flatten(1)).min() > 0.999


@needs_packing
def test_what_is_watched_stays() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()).eval()
    network[1].register_forward_hook(lambda *_: None)
    network[2].register_forward_hook(lambda *_: None)
    assert count(fused(network)) == 0


def test_what_is_no_graph_stays_as_it_is() -> None:
    plain = Graph(lambda one, other, x: torch.relu(one(x)))
    assert fuse_activations(plain) is plain
    assert count(plain) == 0
