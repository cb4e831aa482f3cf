from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.acceleration import PreparedNetwork, gradient_cosine, prepare
from monai_advenc.convolutions.integer import IntegerConvolution, computes_in_int8
from monai_advenc.convolutions.integer_chain import IntegerChain
from monai_advenc.errors import SettingsError
from monai_advenc.networks import get_network
from monai_advenc.step_gradients import target_gradient

pytestmark = pytest.mark.skipif(not computes_in_int8(), reason="the processor does not add products of bytes exactly")

SHAPE = (1, 24, 24)


class Residual(nn.Module):
    """A residual block; with a stride, in the second of its convolutions, and a convolution beside it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, stride=stride)
        self.beside = nn.Conv2d(inputs, outputs, 1, stride=stride) if stride > 1 or inputs != outputs else None

    def forward(self, features: Tensor) -> Tensor:
        beside = features if self.beside is None else self.beside(features)
        return (self.second(self.first(features).relu()) + beside).relu()


def network_of(*body: nn.Module, channels: int = 64) -> nn.Module:
    """A first layer, the given ones on 64 channels, and a last one."""
    ends = nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 5)
    return nn.Sequential(*ends[:2], *body, *ends[2:]).eval()


def wide() -> nn.Conv2d:
    return nn.Conv2d(64, 64, 3, padding=1)


def chains_of(prepared: PreparedNetwork) -> list[IntegerChain]:
    return [module for module in prepared.modules() if isinstance(module, IntegerChain)]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "one convolution": lambda: network_of(wide(), nn.ReLU()),
    "three in a row": lambda: network_of(wide(), nn.ReLU(), wide(), nn.ReLU(), wide(), nn.ReLU()),
    "the last without ReLU": lambda: network_of(wide(), nn.ReLU(), wide()),
    "a stride in the middle": lambda: network_of(
        wide(), nn.ReLU(), nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.ReLU(), wide(), nn.ReLU()
    ),
    "residual blocks": lambda: network_of(
        Residual(64, 64, 1), Residual(64, 128, 2), Residual(128, 128, 1), channels=128
    ),
    "down to few positions": lambda: network_of(
        Residual(64, 64, 2), Residual(64, 64, 2), Residual(64, 64, 1), Residual(64, 64, 1)
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_chain_of_any_form_has_the_networks_logits_and_gradients(name: str) -> None:
    network = NETWORKS[name]()
    prepared = prepare(network, SHAPE, precision="int8")
    assert prepared.precision == "int8"
    assert len(chains_of(prepared)) == 1
    images = torch.rand(4, *SHAPE)
    expected = network(images)
    assert (prepared(images) - expected).abs().max() < 0.05 * (expected.amax() - expected.amin())
    assert gradient_cosine(network, prepared, SHAPE) > 0.97


@pytest.mark.parametrize(("name", "chains"), [("resnet18", 1), ("resnet50", 1), ("vgg11", 4)])
def test_usual_networks_are_computed_on_integers(name: str, chains: int) -> None:
    network = get_network(name, 5, 3, 32).eval()
    prepared = prepare(network, (3, 32, 32), precision="int8")
    assert len(chains_of(prepared)) == chains
    # Untrained, and up to 50 layers deep: little is left of an image, and noise adds up.
    assert gradient_cosine(network, prepared, (3, 32, 32)) > 0.7


def test_a_value_that_is_used_elsewhere_ends_a_chain() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start, self.first, self.second = nn.Conv2d(1, 64, 3, padding=1), wide(), wide()
            self.end = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, 5))

        def forward(self, images: Tensor) -> Tensor:
            features = self.first(self.start(images).relu()).relu()
            logits: Tensor = self.end(self.second(features).relu() * features)
            return logits

    network = Branching().eval()
    prepared = prepare(network, SHAPE, precision="int8")
    assert [len(chain.plan) for chain in chains_of(prepared)] == [1, 1]
    assert gradient_cosine(network, prepared, SHAPE) > 0.97


@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.1), nn.GELU()])
def test_what_may_be_negative_is_not_encoded(activation: nn.Module) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 64, 3), activation, wide(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 5)
    )
    with pytest.raises(SettingsError, match="int8 takes a CPU that adds products of bytes"):
        prepare(network.eval(), SHAPE, precision="int8")
    assert prepare(network.eval(), SHAPE).precision != "int8"


def test_a_watched_convolution_stays_as_it_is() -> None:
    network = network_of(wide(), nn.ReLU(), wide(), nn.ReLU())
    seen: list[object] = []
    network[2].register_forward_hook(lambda module, given, output: seen.append(module))
    prepared = prepare(network, SHAPE, precision="bf16")
    assert not chains_of(prepared)
    with pytest.raises(SettingsError):
        prepare(network, SHAPE, precision="int8")


def test_an_images_gradient_does_not_depend_on_its_neighbors() -> None:
    prepared = prepare(NETWORKS["residual blocks"](), SHAPE, precision="int8")
    images, targets = torch.rand(4, *SHAPE), torch.arange(4)
    others = torch.cat([images[:1], torch.zeros(1, *SHAPE), torch.ones(2, *SHAPE)])
    gradients = (target_gradient(prepared, each, targets)[0] for each in (images, others))
    assert torch.equal(*gradients)


def test_a_network_on_integers_can_be_copied_sent_and_asked_for_other_sizes() -> None:
    prepared = prepare(NETWORKS["residual blocks"](), SHAPE, precision="int8")
    images, targets = torch.rand(3, *SHAPE), torch.arange(3)
    expected = target_gradient(prepared, images, targets)
    for twin in (copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
        assert torch.equal(target_gradient(twin, images, targets), expected)
    target_gradient(prepared, images[:, :, :16], targets)
    assert torch.equal(target_gradient(prepared, images, targets), expected)


def test_where_the_processor_has_no_such_products_auto_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_advenc.acceleration.computes_in_int8", lambda: False)
    network = NETWORKS["three in a row"]()
    assert prepare(network, SHAPE).precision != "int8"
    with pytest.raises(SettingsError, match="use auto"):
        prepare(network, SHAPE, precision="int8")


def test_auto_takes_integers_only_where_gradients_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORKS["three in a row"]()
    assert prepare(network, SHAPE).precision == "int8"
    monkeypatch.setattr("monai_advenc.acceleration.gradient_cosine", lambda *_: 0.94)
    assert prepare(network, SHAPE).precision == "fp32"


def test_two_threads_may_use_a_network_on_integers_at_once() -> None:
    assert prepare(NETWORKS["three in a row"](), SHAPE, precision="int8").stateless


def test_the_convolutions_of_a_chain_are_kept_in_bytes_alone() -> None:
    prepared = prepare(NETWORKS["three in a row"](), SHAPE, precision="int8")
    (chain,) = chains_of(prepared)
    kernels = [module.codes for module in chain.modules() if isinstance(module, IntegerConvolution)]
    assert len(kernels) == 6
    assert {kernel.dtype for kernel in kernels} == {torch.int8}
    assert (
        sum(values.numel() for values in prepared.network.state_dict().values() if values.dim() == 4) < 8 * 64 * 64 * 9
    )
