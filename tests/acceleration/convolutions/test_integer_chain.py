from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.acceleration.convolutions.integer import IntegerConvolution, computes_in_int8
from monai_advenc.acceleration.convolutions.integer_chain import IntegerChain
from monai_advenc.acceleration.convolutions.packed import packing_works
from monai_advenc.acceleration.gradients import target_gradient
from monai_advenc.acceleration.prepare import FEWEST_STEPS_ON_INTEGERS, PreparedNetwork, gradient_cosine, prepare
from monai_advenc.acceleration.processor import computes_in_bf16
from monai_advenc.errors import NetworkError, SettingsError
from monai_advenc.networks import get_network

pytestmark = pytest.mark.skipif(not computes_in_int8(), reason="the processor does not add products of bytes exactly")

SHAPE = (1, 24, 24)
WIDTH = 128


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


def network_of(*body: nn.Module, channels: int = WIDTH) -> nn.Module:
    """A first layer, the given ones on as many channels, and a last one."""
    ends = (
        nn.Conv2d(1, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * channels, 5),
    )
    return nn.Sequential(*ends[:2], *body, *ends[2:]).eval()


def wide() -> nn.Conv2d:
    return nn.Conv2d(WIDTH, WIDTH, 3, padding=1)


def chains_of(prepared: PreparedNetwork) -> list[IntegerChain]:
    return [module for module in prepared.modules() if isinstance(module, IntegerChain)]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are tiles, they go before integers."""
    monkeypatch.setattr("monai_advenc.acceleration.prepare.multiplies_tiles", lambda: False)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "one convolution": lambda: network_of(wide(), nn.ReLU()),
    "three in a row": lambda: network_of(wide(), nn.ReLU(), wide(), nn.ReLU(), wide(), nn.ReLU()),
    "the last without ReLU": lambda: network_of(wide(), nn.ReLU(), wide()),
    "a stride in the middle": lambda: network_of(
        wide(), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1), nn.ReLU(), wide(), nn.ReLU()
    ),
    "residual blocks": lambda: network_of(
        Residual(WIDTH, WIDTH, 1), Residual(WIDTH, 2 * WIDTH, 2), Residual(2 * WIDTH, 2 * WIDTH, 1), channels=2 * WIDTH
    ),
    "down to few positions": lambda: network_of(
        Residual(WIDTH, WIDTH, 2), Residual(WIDTH, WIDTH, 2), Residual(WIDTH, WIDTH, 1), Residual(WIDTH, WIDTH, 1)
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


@pytest.mark.parametrize(("name", "chains"), [("resnet18", 1), ("vgg11", 4)])
def test_usual_networks_are_computed_on_integers(name: str, chains: int) -> None:
    network = get_network(name, 5, 3, 32).eval()
    prepared = prepare(network, (3, 32, 32), precision="int8")
    assert len(chains_of(prepared)) == chains
    # Untrained, and deep: little is left of an image, and noise adds up.
    assert gradient_cosine(network, prepared, (3, 32, 32)) > 0.7


@pytest.mark.parametrize("name", ["resnet_small", "resnet50", "densenet_small"])
def test_networks_that_would_not_gain_are_left_to_bf16(name: str) -> None:
    assert prepare(get_network(name, 5, 1, 64).eval(), (1, 64, 64)).precision != "int8"
    with pytest.raises(SettingsError, match="wide enough to gain"):
        prepare(get_network(name, 5, 1, 64).eval(), (1, 64, 64), precision="int8")


def test_a_value_that_is_used_elsewhere_ends_a_chain() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start, self.first, self.second = nn.Conv2d(1, WIDTH, 3, padding=1), wide(), wide()
            self.end = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * WIDTH, 5))

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
        nn.Conv2d(1, WIDTH, 3), activation, wide(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 5)
    )
    with pytest.raises(SettingsError, match="int8 is not possible: the network has no convolutions after ReLU"):
        prepare(network.eval(), SHAPE, precision="int8")
    assert prepare(network.eval(), SHAPE).precision != "int8"


def test_a_watched_network_stays_as_it_is() -> None:
    network = network_of(wide(), nn.ReLU(), wide(), nn.ReLU())
    seen: list[object] = []
    network[2].register_forward_hook(lambda module, given, output: seen.append(module))
    prepared = prepare(network, SHAPE)
    assert not chains_of(prepared)
    prepared(torch.rand(1, *SHAPE))
    assert seen
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


class Auxiliary(nn.Module):
    """Computes a second result and forgets it."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.first, self.second = nn.Conv2d(1, WIDTH, 3, padding=1), wide(), wide()
        self.end = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * WIDTH, 5))

    def forward(self, images: Tensor) -> Tensor:
        features = self.start(images).relu()
        self.second(features).relu()
        logits: Tensor = self.end(self.first(features).relu())
        return logits


class Detached(Auxiliary):
    """Takes no gradient through one of two ways."""

    def forward(self, images: Tensor) -> Tensor:
        features = self.start(images).relu()
        logits: Tensor = self.end(self.first(features).relu() + self.second(features).relu().detach())
        return logits


class ChangedBetween(Auxiliary):
    """Changes a chain's input after its first convolution has read it; in place, as torch itself could not go back."""

    in_place = True

    def forward(self, images: Tensor) -> Tensor:
        features = nn.functional.avg_pool2d(self.start(images).relu(), 2)
        found = self.first(features).relu()
        features = features.mul_(-3) if self.in_place else features * -3
        logits: Tensor = self.end(self.second(found).relu() + features)
        return logits


class Gated(Auxiliary):
    """Adds one channel to all of another convolution's."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.start(images).relu()
        logits: Tensor = self.end((self.first(features) + self.gate(features)).relu())
        return logits


def changed_afterwards(activation: nn.Module) -> nn.Module:
    return network_of(wide(), nn.ReLU(), wide(), activation)


def start_changed_afterwards() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, WIDTH, 3),
        nn.ReLU6(inplace=True),
        wide(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * WIDTH, 5),
    )


class TwoFromOne(Auxiliary):
    """Two ways from one value, of which one is a residual block with a convolution of its own beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.beside, self.other = nn.Conv2d(WIDTH, WIDTH, 3, padding=1), wide()
        self.integer_chain_0 = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        features = self.integer_chain_0(self.start(images).relu())
        other = self.other(features).relu()
        block = (self.second(self.first(features).relu()) + self.beside(features)).relu()
        logits: Tensor = self.end(torch.maximum(block, other))
        return logits


class ChangesItsImages(Auxiliary):
    """Begins by scaling what it is given in place; by itself it cannot be differentiated."""

    def forward(self, images: Tensor) -> Tensor:
        features = self.start(images.mul_(0.5)).relu()
        logits: Tensor = self.end(self.first(features).relu())
        return logits


class SharedBeforeNorms(Auxiliary):
    """One convolution before two batch norms and before none."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(WIDTH), nn.BatchNorm2d(WIDTH)])
        for number, norm in enumerate(self.norms, 1):
            norm.running_var.fill_(0.1 * number)  # type: ignore[union-attr]  # It has statistics.
            norm.running_mean.fill_(0.05 * number)  # type: ignore[union-attr]  # As above.

    def forward(self, images: Tensor) -> Tensor:
        features = self.start(images).relu()
        for norm in (*self.norms, nn.Identity()):
            features = norm(self.first(features)).relu()
        logits: Tensor = self.end(features)
        return logits


class Masked(Auxiliary):
    """Rules out a class."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.end(self.first(self.start(images).relu()).relu())
        return logits.masked_fill(torch.tensor([False, False, False, False, True]), float("-inf"))


class Viewing(Auxiliary):
    """Views a map of features as a row."""

    def forward(self, images: Tensor) -> Tensor:
        features = nn.functional.adaptive_avg_pool2d(self.first(self.start(images).relu()).relu(), 2)
        logits: Tensor = self.end[2](features.view(features.size(0), -1))
        return logits


class InsistsOnFloat32(Auxiliary):
    """Cannot be computed in bf16."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.end(self.first(self.start(images.float()).relu()).relu())
        return logits


AWKWARD: dict[str, Callable[[], nn.Module]] = {
    "a result that nobody uses": Auxiliary,
    "a result cut off from the gradient": Detached,
    "a summand of another shape": Gated,
    "two chains from one value": TwoFromOne,
    "one convolution before several norms": SharedBeforeNorms,
    "a view of a map": Viewing,
    "float32 asked for": InsistsOnFloat32,
    "a result changed in place": lambda: changed_afterwards(nn.ReLU6(inplace=True)),
    "a result changed in place by a leaky activation": lambda: changed_afterwards(nn.LeakyReLU(0.1, inplace=True)),
    "nothing at all before ReLU6": start_changed_afterwards,
}


@pytest.mark.parametrize("name", AWKWARD)
def test_a_network_of_awkward_form_is_prepared_right(name: str) -> None:
    network = AWKWARD[name]().eval()
    prepared = prepare(network, SHAPE)
    assert gradient_cosine(network, prepared, SHAPE) > 0.97
    images = torch.rand(4, *SHAPE)
    expected = network(images.clone())
    assert (prepared(images) - expected).abs().max() < 0.05 * (expected.amax() - expected.amin())


@pytest.mark.skipif(not computes_in_bf16(torch.device("cpu")), reason="the processor has no bf16 arithmetic")
def test_a_network_that_insists_on_float32_is_refused_for_integers_in_one_line() -> None:
    with pytest.raises(SettingsError, match="or it requires float32; set precision to auto"):
        prepare(InsistsOnFloat32().eval(), SHAPE, precision="int8")


def test_what_is_prepared_under_autocast_is_what_is_prepared_without() -> None:
    network = NETWORKS["three in a row"]()
    for known in (computes_in_int8, packing_works):
        known.cache_clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert prepare(network, SHAPE).precision == "int8"
    assert prepare(network, SHAPE).precision == "int8"


def test_a_class_that_is_ruled_out_is_no_reason_against_integers() -> None:
    network = Masked().eval()
    assert prepare(network, SHAPE).precision == "int8"


def test_a_network_that_changes_its_images_leaves_the_callers_alone() -> None:
    images = torch.rand(2, *SHAPE)
    prepared = prepare(ChangesItsImages().eval(), SHAPE, precision="int8")
    kept = images.clone()
    prepared(images)
    assert torch.equal(images, kept)


def test_an_input_that_is_changed_later_is_read_before() -> None:
    network = ChangedBetween().eval()
    prepared = prepare(network, SHAPE)
    network.in_place = False
    images = torch.rand(4, *SHAPE)
    expected = network(images)
    assert (prepared(images) - expected).abs().max() < 0.05 * (expected.amax() - expected.amin())
    assert gradient_cosine(network, prepared, SHAPE) > 0.97


def single_positions() -> nn.Module:
    layers = [nn.AdaptiveMaxPool2d(1), wide(), nn.ReLU(), wide(), nn.ReLU()]
    return network_of(*layers)[:-3].append(nn.Flatten()).append(nn.Linear(WIDTH, 5)).eval()


def test_single_images_and_positions_have_the_same_gradient_each_time() -> None:
    prepared = prepare(single_positions(), SHAPE, precision="int8")
    images, targets = torch.rand(3, *SHAPE), torch.arange(3)
    first = target_gradient(prepared, images[:1], targets[:1])
    together = target_gradient(prepared, images, targets)
    for _ in range(2):
        assert torch.equal(target_gradient(prepared, images[:1], targets[:1]), first)
        assert torch.equal(target_gradient(prepared, images, targets), together)


def test_no_images_have_no_gradient() -> None:
    prepared = prepare(NETWORKS["three in a row"](), SHAPE, precision="int8")
    gradient = target_gradient(prepared, torch.zeros(0, *SHAPE), torch.zeros(0, dtype=torch.int64))
    assert gradient.shape == (0, *SHAPE)


def test_a_gradient_may_be_taken_twice_and_under_inference_mode() -> None:
    prepared = prepare(NETWORKS["residual blocks"](), SHAPE, precision="int8")
    images, targets = torch.rand(2, *SHAPE).requires_grad_(), torch.arange(2)
    loss = nn.functional.cross_entropy(prepared(images), targets, reduction="sum")
    twice = [torch.autograd.grad(loss, images, retain_graph=True)[0] for _ in range(2)]
    assert torch.equal(*twice)
    with torch.inference_mode():
        assert torch.equal(prepared(images.detach()), prepared(images.detach()))


def test_preparing_does_not_depend_on_threads_or_on_the_callers_modes() -> None:
    network = NETWORKS["residual blocks"]()
    images, targets = torch.rand(2, *SHAPE), torch.arange(2)
    expected = target_gradient(prepare(network, SHAPE, precision="int8"), images, targets)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = prepare(network, SHAPE, precision="int8")
    finally:
        torch.set_num_threads(threads)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        elsewhere = prepare(network, SHAPE, precision="int8")
    for prepared in (alone, elsewhere):
        assert torch.equal(target_gradient(prepared, images, targets), expected)


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_broken_network_is_refused(place: int) -> None:
    network = NETWORKS["three in a row"]()
    network[place].weight.data[3, 0, 1, 1] = torch.nan
    with pytest.raises(NetworkError, match="logits are NaN"):
        prepare(network, SHAPE, precision="int8")


@pytest.mark.skipif(not computes_in_bf16(torch.device("cpu")), reason="the processor has no bf16 arithmetic")
@pytest.mark.parametrize(("tiles", "first", "second"), [(False, "int8", "bf16"), (True, "bf16", "int8")])
def test_auto_asks_bf16_before_integers_where_the_processor_multiplies_tiles(
    tiles: bool, first: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monai_advenc.acceleration.prepare.multiplies_tiles", lambda: tiles)
    network = NETWORKS["three in a row"]()
    assert prepare(network, SHAPE).precision == first
    found = iter([0.94, 0.96])
    monkeypatch.setattr("monai_advenc.acceleration.prepare.gradient_cosine", lambda *_: next(found))
    assert prepare(network, SHAPE).precision == second


def test_in_few_steps_auto_does_without_integers() -> None:
    network = NETWORKS["three in a row"]()
    assert prepare(network, SHAPE, steps=FEWEST_STEPS_ON_INTEGERS).precision == "int8"
    assert prepare(network, SHAPE, steps=FEWEST_STEPS_ON_INTEGERS - 1).precision != "int8"


def test_where_the_processor_has_no_such_products_auto_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    where = "monai_advenc.acceleration.convolutions.integer_obstacles.computes_in_int8"
    monkeypatch.setattr(where, lambda: False)
    network = NETWORKS["three in a row"]()
    assert prepare(network, SHAPE).precision != "int8"
    with pytest.raises(SettingsError, match="neither VNNI nor AMX"):
        prepare(network, SHAPE, precision="int8")


def test_auto_takes_integers_only_where_gradients_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORKS["three in a row"]()
    assert prepare(network, SHAPE).precision == "int8"
    monkeypatch.setattr("monai_advenc.acceleration.prepare.gradient_cosine", lambda *_: 0.94)
    assert prepare(network, SHAPE).precision == "fp32"


def test_threads_that_use_a_network_at_once_get_what_one_gets() -> None:
    prepared = prepare(NETWORKS["down to few positions"](), SHAPE, precision="int8")
    assert prepared.stateless
    batches = [torch.rand(1 + number % 3, *SHAPE) for number in range(24)]

    def gradient_of(images: Tensor) -> Tensor:
        return target_gradient(prepared, images, torch.arange(len(images)))

    expected = [gradient_of(images) for images in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(gradient_of, batches))
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_the_convolutions_of_a_chain_are_kept_in_bytes_alone() -> None:
    prepared = prepare(NETWORKS["three in a row"](), SHAPE, precision="int8")
    (chain,) = chains_of(prepared)
    kernels = [module.codes for module in chain.modules() if isinstance(module, IntegerConvolution)]
    assert len(kernels) == 6
    assert {kernel.dtype for kernel in kernels} == {torch.int8}
    floats = [values for values in prepared.network.state_dict().values() if values.is_floating_point()]
    assert max(values.numel() for values in floats) < WIDTH * WIDTH * 9, "no wide kernel"
