from __future__ import annotations

import copy
import pickle
import weakref
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration.convolutions.integer import computes_in_int8
from monai_advenc.acceleration.folding import fold_batch_norm
from monai_advenc.acceleration.gradients import FEWEST_STEPS_CLOSED_EXACTLY, MIN_GRADIENT_COSINE
from monai_advenc.acceleration.kept_networks import MOST_SHAPES, PreparedNetworks
from monai_advenc.acceleration.prepare import Precision, PreparedNetwork, gradient_cosine, prepare
from monai_advenc.acceleration.processor import computes_in_bf16
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import NetworkError, SettingsError
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.conftest import tiny_network


def test_folding_removes_batch_norm_and_keeps_the_function(network: nn.Module, images: Tensor) -> None:
    folded = fold_batch_norm(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(images), network(images), atol=1e-5, rtol=1e-4)


def test_the_callers_network_is_never_touched(network: nn.Module, images: Tensor) -> None:
    network.train()
    weights = {name: values.clone() for name, values in network.state_dict().items()}
    prepared = prepare(network, (1, 32, 32))
    prepared(images)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(values, weights[name]) for name, values in network.state_dict().items())
    assert not prepared.training
    assert not any(parameter.requires_grad for parameter in prepared.parameters())


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_pixels_that_cannot_reach_the_result_stay_as_they_are(norm: Literal["l2", "linf"]) -> None:
    class Cropped(nn.Sequential):
        def forward(self, images: Tensor) -> Tensor:
            features: Tensor = super().forward(images)
            return features[:, :, :29, :29].mean(dim=(2, 3))

    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 128, 3, padding=1), nn.ReLU(), nn.Conv2d(128, 128, 3, padding=1), nn.ReLU()]
    network = Cropped(*layers, nn.Conv2d(128, 3, 1)).eval()
    images = torch.rand(2, 1, 32, 32)
    regions = torch.zeros(2, 1, 32, 32)
    regions[..., 31] = 1
    prepared = prepare(network, (1, 32, 32), precision="fp32")
    settings = PerturbationSettings(radius=0.5, step_size=0.1, steps=3, norm=norm)
    assert torch.equal(perturb(prepared, images, torch.tensor([0, 1]), settings, regions=regions), images)


def test_a_network_that_cannot_be_traced_is_used_unfolded(images: Tensor) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tiny_network()

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images) if images.sum() > 0 else self.inner(images * 2)

    network = Branching().eval()
    torch.testing.assert_close(prepare(network, (1, 32, 32), precision="fp32")(images), network(images))


def test_logits_are_float32_in_either_precision(network: nn.Module, images: Tensor) -> None:
    for precision in ("fp32", "bf16"):
        prepared = prepare(network, (1, 32, 32), precision=precision)  # type: ignore[arg-type]  # From two literals.
        assert prepared.precision == precision
        assert prepared(images).dtype == torch.float32
        torch.testing.assert_close(prepared(images), network(images), atol=0.1, rtol=0.1)


def test_a_network_in_bf16_is_closed_by_itself_in_float32_and_no_other_is(network: nn.Module, images: Tensor) -> None:
    fast, exact = prepare(network, (1, 32, 32), precision="bf16"), prepare(network, (1, 32, 32), precision="fp32")
    assert fast.closing_network is not None
    assert fast.closing_network.precision == "fp32"
    assert torch.equal(fast.closing_network(images), exact(images))
    assert exact.closing_network is None


def test_auto_takes_bf16_only_where_gradients_agree(network: nn.Module) -> None:
    # Two literals.
    exact, fast = (prepare(network, (1, 32, 32), precision=p) for p in ("fp32", "bf16"))  # type: ignore[arg-type]
    agree = gradient_cosine(exact, fast, (1, 32, 32)) >= MIN_GRADIENT_COSINE
    chosen = prepare(network, (1, 32, 32)).precision
    assert chosen == ("bf16" if agree and computes_in_bf16(torch.device("cpu")) else "fp32")


@pytest.mark.skipif(not computes_in_bf16(torch.device("cpu")), reason="the processor has no bf16 arithmetic")
def test_a_trained_network_is_perturbed_in_bf16_to_the_loss_of_fp32() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(96) % 3
    images = 0.5 + 0.1 * torch.randn(96, 1, 32, 32, generator=generator)
    images[:, :, 10:22, 10:22] += torch.tensor([0.15, -0.15, 0.0])[labels].view(-1, 1, 1, 1)
    train_set = ImageSet(images.clamp(0, 1), labels, tuple(map(str, range(96))), ("bright", "dark", "none"))
    untrained = get_network("resnet_small", 3, 1, 32, seed=0)
    network = train(untrained, train_set, None, TrainingSettings(epochs=4, batch_size=16)).network
    images, targets = train_set.images[:16], (labels[:16] + 1) % 3
    settings = PerturbationSettings(radius=0.5, step_size=0.1, steps=10)
    losses = []
    for precision in ("fp32", "bf16"):
        prepared = prepare(network, (1, 32, 32), precision=precision)  # type: ignore[arg-type]  # From two literals.
        perturbed = perturb(prepared, images, targets, settings)
        losses.append(functional.cross_entropy(network(perturbed), targets).item())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[0] < 0.8 * functional.cross_entropy(network(images), targets).item()


@pytest.mark.parametrize(("cosine", "precision"), [(0.96, "bf16"), (0.94, "fp32")])
def test_what_trained_networks_come_to_is_enough_for_bf16(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch, cosine: float, precision: str
) -> None:
    monkeypatch.setattr("monai_advenc.acceleration.prepare.computes_in_bf16", lambda device: True)
    monkeypatch.setattr("monai_advenc.acceleration.prepare.gradient_cosine", lambda *_: cosine)
    assert prepare(network, (1, 32, 32)).precision == precision


def test_auto_falls_back_to_fp32_when_bf16_gradients_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cancelling(nn.Module):
        """Subtracts two nearly equal large numbers: bf16 loses everything."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.linspace(-1, 1, 5))

        def forward(self, images: Tensor) -> Tensor:
            detail = ((images * 4096 + 4096) - 4096).square().mean(dim=(1, 2, 3))
            return torch.sin(detail)[:, None] * self.weight

    monkeypatch.setattr("monai_advenc.acceleration.prepare.computes_in_bf16", lambda device: True)
    assert prepare(Cancelling().eval(), (1, 32, 32)).precision == "fp32"


class Scaled(nn.Module):
    """A network whose logits are multiplied, image by image."""

    def __init__(self, network: nn.Module, *factors: float) -> None:
        super().__init__()
        self.network, self.factors = network, torch.tensor(factors)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images) * self.factors[:, None]
        return logits


def test_the_image_whose_gradient_agrees_least_decides(network: nn.Module) -> None:
    assert gradient_cosine(network, Scaled(network, 1, 1, -1, 1), (1, 32, 32)) < -0.5
    assert gradient_cosine(network, Scaled(network, 1, 1, torch.nan, 1), (1, 32, 32)) == -1


def test_threads_share_only_networks_without_hooks_and_compiled_parts(network: nn.Module) -> None:
    folded = fold_batch_norm(network)
    assert PreparedNetwork(copy.deepcopy(folded), torch.float32).stateless
    assert not PreparedNetwork(copy.deepcopy(folded), torch.float32, compiled=True).stateless
    assert not PreparedNetwork(network, torch.float32).stateless
    next(iter(folded.children())).register_forward_hook(lambda *_: None)
    assert not PreparedNetwork(folded, torch.float32).stateless


def test_a_network_is_prepared_again_when_its_weights_or_statistics_change(images: Tensor) -> None:
    first, norm = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)
    network = nn.Sequential(first, norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    kept = PreparedNetworks("fp32")

    def change_in_place() -> None:
        first.weight.mul_(2)

    def exchange() -> None:
        version = first.weight._version
        first.weight = nn.Parameter(torch.randn_like(first.weight))
        while first.weight._version < version:
            first.weight.add_(0)

    def learn_statistics() -> None:
        norm.running_mean = torch.ones(8)

    prepared = kept.get(network, (1, 32, 32))
    for change in (change_in_place, exchange, learn_statistics):
        assert kept.get(network, (1, 32, 32)) is prepared
        with torch.no_grad():
            change()
        assert kept.get(network, (1, 32, 32)) is not prepared
        prepared = kept.get(network, (1, 32, 32))
        torch.testing.assert_close(prepared(images), network(images), atol=1e-4, rtol=1e-4)
    assert pickle.loads(pickle.dumps(kept))._kept == {}, "not worth sending to workers"


def test_networks_for_many_shapes_of_images_do_not_pile_up_in_memory(network: nn.Module) -> None:
    kept = PreparedNetworks("fp32")
    shapes = [(1, 32, 32 + side) for side in range(MOST_SHAPES + 3)]
    references = [weakref.ref(kept.get(network, shape)) for shape in shapes]
    alive = [reference() is not None for reference in references]
    assert alive == [False] * 3 + [True] * MOST_SHAPES
    assert kept.get(network, shapes[-1]) is references[-1]()


@pytest.mark.parametrize("steps", [None, FEWEST_STEPS_CLOSED_EXACTLY - 1, FEWEST_STEPS_CLOSED_EXACTLY])
def test_no_float32_network_is_kept_where_no_step_asks_it(network: nn.Module, steps: int | None) -> None:
    closing = prepare(network, (1, 32, 32), precision="bf16", steps=steps).closing_network
    assert (closing is None) == (steps == FEWEST_STEPS_CLOSED_EXACTLY - 1)


def test_preparing_twice_changes_nothing(network: nn.Module) -> None:
    prepared = prepare(network, (1, 32, 32))
    assert prepare(prepared, (1, 32, 32)) is prepared


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_usual_first_layer_and_wide_layers_keep_their_gradients(precision: Precision) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 128, 7, stride=2, padding=3),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(512, 5),
        ).eval()
    prepared = prepare(network, (1, 31, 45), precision=precision)
    assert gradient_cosine(network, prepared, (1, 31, 45)) > (0.9999 if precision == "fp32" else 0.98)


def test_a_prepared_network_can_be_copied_and_sent_after_use(network: nn.Module, images: Tensor) -> None:
    prepared = prepare(network, (1, 32, 32))
    expected = prepared(images)
    for twin in (copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
        assert torch.equal(twin(images), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch's compiler looks there.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # And uses what is on its way out.
def test_a_compiled_network_has_the_same_gradients(network: nn.Module) -> None:
    compiled = prepare(network, (1, 32, 32), precision="fp32", compiled=True)
    assert gradient_cosine(network, compiled, (1, 32, 32)) > 0.9999


def test_one_image_gets_the_same_logits_in_any_position(network: nn.Module, images: Tensor) -> None:
    prepared = prepare(network, (1, 32, 32))
    assert torch.equal(prepared(images.flip(0)).flip(0), prepared(images))


def test_what_cannot_work_is_refused_in_one_line(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_advenc.acceleration.prepare.computes_in_bf16", lambda device: True)
    with pytest.raises(NetworkError, match="does not accept images of shape"):
        prepare(network, (3, 32, 32))
    with pytest.raises(SettingsError, match="unknown precision"):
        prepare(network, (1, 32, 32), precision="fp8")  # type: ignore[arg-type]  # The mistake under test.


def test_int8_is_refused_with_the_reason_that_holds(network: nn.Module, images: Tensor) -> None:
    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: Tensor) -> Tensor:
            logits: Tensor = self.network(pixels)
            return logits if logits.sum() > 0 else logits * 1

    shape = (1, 32, 32)
    with pytest.raises(SettingsError, match="the network is compiled"):
        prepare(network, shape, precision="int8", compiled=True)
    with pytest.raises(SettingsError, match="cannot trace"):
        prepare(Untraceable().eval(), shape, precision="int8")
    reason = "wide enough" if computes_in_int8() else "neither VNNI nor AMX"
    with pytest.raises(SettingsError, match=reason):
        prepare(network, shape, precision="int8")
