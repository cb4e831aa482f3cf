from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, symbolic_trace
from torch.nn import functional

from monai_advenc.acceleration.convolutions.frozen import FrozenConvolution, freeze_convolutions
from monai_advenc.acceleration.convolutions.fusion import fuse_activations
from monai_advenc.acceleration.convolutions.packed import packing_works
from monai_advenc.acceleration.folding import fold_batch_norm
from monai_advenc.acceleration.prepare import prepare
from monai_advenc.errors import NetworkError
from monai_advenc.networks import NETWORKS, get_network
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings

pytestmark = pytest.mark.skipif(not packing_works(), reason="this build of torch cannot pack weights")

Forward = Callable[["Layers", Tensor], Tensor]


class Layers(nn.Module):
    """Convolutions, ReLU and pooling, in the order that a test wants."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second, self.third = (nn.Conv2d(64, 64, 3, padding=1) for _ in range(3))
            self.add = nn.Bilinear(12, 12, 12)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
        self.relu_in_place = nn.ReLU(inplace=True)
        self.pool_and_where = nn.MaxPool2d(2, return_indices=True)
        self.order = forward
        self.eval().requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        return self.order(self, features)


def fused(network: nn.Module) -> GraphModule:
    traced = network if isinstance(network, GraphModule) else symbolic_trace(network)
    traced = copy.deepcopy(traced)
    freeze_convolutions(traced)
    fuse_activations(traced)
    return traced


def remaining(network: GraphModule) -> list[str]:
    """What is computed, without names that depend on the number of calls."""
    names = (str(getattr(node.target, "__name__", node.target)) for node in network.graph.nodes)
    return [name for name in names if name not in ("features", "output")]


def features(channels: int = 64, side: int = 12) -> Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(1))


def output_and_gradient(network: nn.Module, start: Tensor) -> tuple[Tensor, Tensor]:
    image = start.clone().requires_grad_(True)
    output = network(image * 1)  # An image itself may not be changed in place.
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
    return output.detach(), torch.autograd.grad((output * weights).sum(), image)[0]


def assert_same_function(one: nn.Module, other: nn.Module, start: Tensor) -> None:
    for ours, theirs in zip(output_and_gradient(one, start), output_and_gradient(other, start), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("forward", "left"),
    [
        (lambda net, x: net.relu(net.first(x)), ["first"]),
        (lambda net, x: functional.relu(net.first(x)), ["first"]),
        (lambda net, x: net.first(x).relu_(), ["first"]),
        (lambda net, x: net.relu(net.first(x) + x), ["first"]),
        (lambda net, x: net.relu(x + net.first(x)), ["first"]),
        (lambda net, x: net.relu_in_place(torch.add(net.first(x), x)), ["first"]),
        (lambda net, x: net.relu(net.first(x) + net.second(x)), ["second", "first"]),
        (lambda net, x: net.relu(net.second(net.relu(net.first(x))) + x), ["first", "second"]),
        (lambda net, x: net.relu(net.pool(net.relu(net.first(x)))), ["first", "pool", "relu", "relu"]),
        (lambda net, x: net.pool(net.relu(net.first(x))), ["first", "pool", "relu"]),
    ],
)
def test_what_follows_a_convolution_is_computed_in_it(forward: Forward, left: list[str]) -> None:
    network = Layers(forward)
    assert remaining(fused(network)) == left
    assert_same_function(fused(network), network, features())


def used_twice(net: Layers, x: Tensor) -> Tensor:
    convolved = net.first(x)
    return net.relu(convolved) + convolved


def sum_used_twice(net: Layers, x: Tensor) -> Tensor:
    total = net.first(x) + x
    return net.relu(total) * total


def added_to_what_is_used_later(net: Layers, x: Tensor) -> Tensor:
    shortcut = x * 2
    return net.relu(shortcut.add_(net.first(x))) + shortcut


def added_to_itself(net: Layers, x: Tensor) -> Tensor:
    convolved = net.first(x)
    return net.relu(convolved + convolved)


def activated_before_and_beside_pooling(net: Layers, x: Tensor) -> Tensor:
    activated = net.relu(net.first(x))
    return net.pool(activated).mean() + activated


def also_pooled_before_relu(net: Layers, x: Tensor) -> Tensor:
    convolved = net.first(x)
    return net.pool(net.relu(convolved)) * net.pool(convolved)


def also_used_beside_the_sum(net: Layers, x: Tensor) -> Tensor:
    convolved = net.first(x)
    return net.relu(convolved + x) * convolved


def where_the_largest_stood(net: Layers, x: Tensor) -> Tensor:
    pooled, rows = net.pool_and_where(net.relu(net.first(x)))
    return pooled * (rows % 2)


def sum_with_a_size(net: Layers, x: Tensor) -> Tensor:
    return net.relu(net.first(x) + x.shape[1])


def weights_read_elsewhere(net: Layers, x: Tensor) -> Tensor:
    return net.relu(net.first(x)) * net.first.weight.abs().mean()


@pytest.mark.parametrize(
    "forward",
    [
        used_twice,
        sum_used_twice,
        added_to_what_is_used_later,
        added_to_itself,
        activated_before_and_beside_pooling,
        also_pooled_before_relu,
        also_used_beside_the_sum,
        where_the_largest_stood,
        sum_with_a_size,
        weights_read_elsewhere,
        lambda net, x: net.relu(torch.add(net.first(x), x, alpha=3)),
        lambda net, x: net.relu(net.first(x).add(x, alpha=3)),
        lambda net, x: net.relu(net.first(x) + 0.1),
        lambda net, x: net.relu(net.add(net.first(x), x)),
        lambda net, x: net.relu(net.relu(net.first(x)) + x),
        lambda net, x: functional.relu(net.first(x), True),
        lambda net, x: net.relu(net.first(input=x)),
        lambda net, x: net.relu(net.first(x) + x.mean(dim=(2, 3), keepdim=True)),
        lambda net, x: net.relu(net.first(x)) + net.relu(net.first(x * 2)),
    ],
)
def test_what_something_else_needs_or_could_change_gives_the_same_results(forward: Forward) -> None:
    network = Layers(forward)
    assert_same_function(fused(network), network, features())


def test_a_pooled_window_that_sees_only_padding_stays_minus_infinity() -> None:
    network = Layers(lambda net, x: net.pool(net.relu(net.first(x))))
    network.pool = nn.MaxPool2d(2, stride=1, padding=1, dilation=13)
    assert network(features()).isinf().all()
    assert torch.equal(fused(network)(features()), network(features()))


def test_a_convolution_does_not_wait_until_its_input_has_changed() -> None:
    network = Layers(lambda net, x: net.relu(net.first(x) + net.relu_in_place(x)))
    torch.testing.assert_close(fused(network)(features()), network(features()), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"])
def test_relu_that_is_watched_still_runs(kind: str) -> None:
    network = Layers(lambda net, x: net.relu(net.first(x)))
    seen: list[int] = []
    traced = symbolic_trace(network)
    getattr(traced.relu, kind)(lambda *_: seen.append(1))
    freeze_convolutions(traced)
    fuse_activations(traced)
    output_and_gradient(traced, features())
    assert seen


def test_a_number_that_a_network_takes_as_well_may_be_added() -> None:
    class Shifted(Layers):
        def forward(self, features: Tensor, offset: float = 0.1) -> Tensor:
            return self.relu(self.first(features) + offset)

    network = Shifted(lambda net, x: x)
    assert_same_function(fused(network), network, features())


def test_nan_in_a_network_is_found(images: Tensor) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Conv2d(32, 128, 3), nn.ReLU()
    )
    network.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 3)]).eval()
    with torch.no_grad():
        network[2].bias[5] = torch.nan
    settings = PerturbationSettings(radius=1, step_size=0.5, steps=2)
    for precision in ("fp32", "bf16"):
        prepared = prepare(network, (1, 32, 32), precision=precision)  # type: ignore[arg-type]  # From two literals.
        with pytest.raises(NetworkError, match="not finite"):
            perturb(prepared, images, torch.zeros(len(images), dtype=torch.int64), settings)


def seen_once(name: str) -> nn.Module:
    """Untrained, but with batch norms that know how large features are."""
    network = get_network(name, 5, 3, 32, seed=0)
    with torch.no_grad():
        network(features(3, 32).sigmoid())
    return fold_batch_norm(network)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_keeps_its_function(name: str) -> None:
    network = seen_once(name)
    start = features(3, 32).sigmoid()
    for ours, theirs in zip(
        output_and_gradient(fused(network), start), output_and_gradient(network, start), strict=True
    ):
        # A number that is nearly zero may be activated in one of them only, so they are compared as a whole.
        assert functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.9999


def test_all_sums_and_relu_of_resnet18_are_computed_in_its_convolutions() -> None:
    network = fused(seen_once("resnet18"))
    convolutions = [name for name, module in network.named_modules() if isinstance(module, FrozenConvolution)]
    assert len(convolutions) == 19
    assert not any(name.split(".")[-1].startswith(("act", "add")) for name in remaining(network))
