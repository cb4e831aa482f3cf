from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.acceleration.convolutions.integer import computes_in_int8
from monai_advenc.acceleration.gradients import (
    EXACT_STEPS,
    FEWEST_STEPS_CLOSED_EXACTLY,
    StepGradients,
    agree,
    target_gradient,
)
from monai_advenc.acceleration.prepare import prepare
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.perturbation.objectives import TargetClass
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.workers import one_thread
from tests.conftest import tiny_network

SETTINGS = PerturbationSettings(radius=0.5, step_size=0.1, steps=12)
TARGETS = torch.arange(8) % 5


class Rough(nn.Module):
    """The exact network, wrong for images that are brighter than most; counts the calls of both."""

    def __init__(self, exact: nn.Module, wrong_above: float) -> None:
        super().__init__()
        self.exact_network, self.wrong_above = exact, wrong_above
        self.calls: list[str] = []
        exact.register_forward_pre_hook(lambda module, given: self.calls.append("exact"))
        self.inner = exact.forward

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append("rough")
        sign = torch.where(images.detach().mean(dim=(1, 2, 3)) > self.wrong_above, -1.0, 1.0)
        logits: Tensor = self.inner(images) * sign.view(-1, 1)
        return logits


def bright_and_dark(images: Tensor) -> Tensor:
    return torch.cat([images[:4] * 0.2, 0.8 + images[4:] * 0.2])


def test_only_the_first_and_the_last_steps_are_computed_exactly(images: Tensor) -> None:
    rough = Rough(tiny_network(), wrong_above=2.0)
    perturb(rough.eval(), images, TARGETS, SETTINGS)
    assert rough.calls[:2] == ["rough", "exact"]
    assert rough.calls[2:] == ["rough"] * (SETTINGS.steps - 1 - EXACT_STEPS) + ["exact"] * EXACT_STEPS


def test_an_image_that_the_faster_network_gets_wrong_is_perturbed_by_the_exact_one(images: Tensor) -> None:
    exact, images = tiny_network(), bright_and_dark(images)
    expected = perturb(exact, images, TARGETS, SETTINGS)
    found = perturb(Rough(exact, wrong_above=0.5).eval(), images, TARGETS, SETTINGS)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


class Closed(nn.Module):
    """A network whose last steps another one goes; counts the calls of both."""

    def __init__(self, network: nn.Module, closing: nn.Module) -> None:
        super().__init__()
        self.network, self.closing_network = network, closing
        self.calls: list[str] = []
        network.register_forward_pre_hook(lambda module, given: self.calls.append("own"))
        closing.register_forward_pre_hook(lambda module, given: self.calls.append("closing"))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits


@pytest.mark.parametrize("steps", [1, EXACT_STEPS, FEWEST_STEPS_CLOSED_EXACTLY - 1, FEWEST_STEPS_CLOSED_EXACTLY])
def test_bf16_leaves_the_last_of_many_steps_to_float32_and_none_of_few(images: Tensor, steps: int) -> None:
    closed = Closed(tiny_network(), tiny_network(seed=1)).eval()
    perturb(closed, images, TARGETS, SETTINGS.model_copy(update={"steps": steps}))
    closing = EXACT_STEPS if steps == FEWEST_STEPS_CLOSED_EXACTLY else 0
    assert closed.calls == ["own"] * (steps - closing) + ["closing"] * closing


def test_adaptive_steps_stay_in_bf16_to_the_end(images: Tensor) -> None:
    closed = Closed(tiny_network(), tiny_network(seed=1)).eval()
    adaptive = SETTINGS.model_copy(update={"steps": 2 * FEWEST_STEPS_CLOSED_EXACTLY, "schedule": "adaptive"})
    perturb(closed, images, TARGETS, adaptive)
    assert set(closed.calls) == {"own"}


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
def test_bf16_closed_by_float32_gives_the_same_bytes_on_any_number_of_threads(images: Tensor, threads: int) -> None:
    many = SETTINGS.model_copy(update={"steps": FEWEST_STEPS_CLOSED_EXACTLY})
    network, shape = tiny_network(), (1, 32, 32)
    bf16 = prepare(network, shape, precision="bf16", steps=many.steps)
    unclosed = prepare(network, shape, precision="bf16", steps=FEWEST_STEPS_CLOSED_EXACTLY - 1)
    by_hand = Closed(unclosed, prepare(network, shape, precision="fp32")).eval()
    with one_thread():
        expected, without = (
            torch.cat([perturb(each, images[n : n + 4], TARGETS[n : n + 4], many) for n in (0, 4)])
            for each in (by_hand, unclosed)
        )
    found = perturb_in_batches(bf16, images, TARGETS, many, batch_size=4)
    assert torch.equal(found, expected)
    assert not torch.equal(found, without)


@pytest.mark.parametrize("steps", [1, EXACT_STEPS, EXACT_STEPS + 1])
def test_so_few_steps_are_exact_altogether(images: Tensor, steps: int) -> None:
    rough = Rough(tiny_network(), wrong_above=0.0)
    perturb(rough.eval(), images, TARGETS, SETTINGS.model_copy(update={"steps": steps}))
    assert rough.calls == ["exact"] * steps


def test_where_all_images_are_got_wrong_the_faster_network_is_not_asked_again(images: Tensor) -> None:
    rough = Rough(tiny_network(), wrong_above=0.0)
    perturb(rough.eval(), images, TARGETS, SETTINGS)
    assert rough.calls == ["rough"] + ["exact"] * SETTINGS.steps


def test_gradients_are_compared_where_pixels_may_move(images: Tensor) -> None:
    class WrongAtTheBottom(Rough):
        def forward(self, images: Tensor) -> Tensor:
            top, bottom = images[:, :, :16], images[:, :, 16:]
            # As large, and of the other sign behind it.
            return super().forward(torch.cat([top, 2 * bottom.detach() - bottom], dim=2))

    inside = torch.zeros(8, 1, 32, 32)
    inside[:, :, :16] = 1
    for regions, asked in ((inside, SETTINGS.steps - EXACT_STEPS), (1 - inside, 1)):
        rough = WrongAtTheBottom(tiny_network(), wrong_above=2.0).eval()
        perturb(rough, images, TARGETS, SETTINGS, regions=regions)
        assert rough.calls.count("rough") == asked


def test_a_network_without_an_exact_one_is_asked_in_every_step(images: Tensor) -> None:
    network = tiny_network()
    gradients = StepGradients(network, TargetClass(TARGETS), 5)
    for step in range(5):
        assert torch.equal(gradients.at(step, images), target_gradient(network, images, TARGETS))


def test_gradients_agree_image_by_image() -> None:
    exact = torch.zeros(6, 1, 2, 2)
    fast = torch.zeros(6, 1, 2, 2)
    exact[0, 0, 0], fast[0, 0, 0] = torch.tensor([1.0, 1.0]), torch.tensor([3.0, 3.1])
    exact[1, 0, 0], fast[1, 0, 0] = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    exact[2, 0, 0] = torch.tensor([1e-30, 0.0])
    fast[3] = torch.nan
    exact[5], fast[5] = 1e-30, 1e-20
    assert agree(exact, fast).tolist() == [True, False, False, False, True, True]


@pytest.mark.skipif(not computes_in_int8(), reason="the processor does not add products of bytes exactly")
def test_perturbing_on_integers_ends_at_the_loss_of_float32() -> None:
    torch.manual_seed(0)
    convolutions = [layer for _ in range(3) for layer in (nn.Conv2d(64, 64, 3, padding=1), nn.ReLU())]
    network = nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), *convolutions, nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )
    network = nn.Sequential(network, nn.Linear(256, 5)).eval()
    network[1].weight.data *= 1000  # So that there is something to win.
    images, targets = torch.rand(8, 1, 16, 16), torch.arange(8) % 5
    losses = {}
    for precision in ("fp32", "int8"):
        prepared = prepare(network, (1, 16, 16), precision=precision)  # type: ignore[arg-type]  # Its literals.
        exact, fast = (target_gradient(each, images, targets) for each in (network, prepared))
        assert agree(exact, fast).all(), "or float32 would have done it"
        perturbed = perturb_in_batches(prepared, images, targets, SETTINGS, batch_size=4)
        losses[precision] = nn.functional.cross_entropy(network(perturbed), targets, reduction="none")
    before = nn.functional.cross_entropy(network(images), targets, reduction="none")
    gained = (before - losses["fp32"]).mean()
    assert gained > 0.1
    assert (losses["int8"] - losses["fp32"]).abs().max() < 0.01 * gained
