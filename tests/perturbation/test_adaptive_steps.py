from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration.convolutions.integer import computes_in_int8
from monai_advenc.acceleration.gradients import EXACT_STEPS, target_gradient
from monai_advenc.acceleration.prepare import prepare
from monai_advenc.errors import NetworkError, SettingsError
from monai_advenc.perturbation.adaptive_steps import (
    EXACT_ABOVE,
    LAST_LENGTH,
    SOFTEST,
    STRETCH,
    AdaptiveSteps,
    steps_worth_while,
)
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.perturbation.objectives import TargetClass
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import ADAPTIVE_STEPS, PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from monai_advenc.workers import one_thread
from tests.conftest import tiny_network

ADAPTIVE = PerturbationSettings(radius=0.5, step_size=1.0, steps=ADAPTIVE_STEPS, schedule="adaptive")
TARGETS = torch.tensor([1, 2, 3, 4, 0, 2, 3, 4])


class Counted(nn.Module):
    """Counts how often the network sees each number of images; scaled logits make it sure, or unsure, of all."""

    def __init__(self, network: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.network, self.scale = network, scale
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        logits: Tensor = self.network(images) * self.scale
        return logits


class Rough(nn.Module):
    """A faster network whose gradients are the exact network's, or the opposite ones for images that are bright."""

    def __init__(self, exact: nn.Module, wrong_above: float = 2.0) -> None:
        super().__init__()
        self.exact_network, self.inner, self.wrong_above = Counted(exact).eval(), exact, wrong_above

    def forward(self, images: Tensor) -> Tensor:
        sign = torch.where(images.detach().mean(dim=(1, 2, 3)) > self.wrong_above, -1.0, 1.0)
        logits: Tensor = self.inner(images) * sign.view(-1, 1)
        return logits


class OneClass(nn.Module):
    """Knows a single class, so that every loss is 0."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits[:, :1]


def unequal(network: nn.Module) -> nn.Module:
    """The network surer of everything, so that images take different numbers of steps."""
    last = network[-1]  # type: ignore[index]  # A sequence.
    with torch.no_grad():
        last.weight *= 20
        last.bias *= 20
    return network


def losses_of(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return functional.cross_entropy(network(images), TARGETS, reduction="none")


def test_they_end_as_low_as_the_papers_hundred(network: nn.Module, images: Tensor) -> None:
    paper = PerturbationSettings(radius=0.5, step_size=0.1, steps=100)
    sure = Counted(network, scale=20.0).eval()
    found = losses_of(sure, perturb(sure, images, TARGETS, ADAPTIVE))
    expected = losses_of(sure, perturb(sure, images, TARGETS, paper))
    assert (expected < losses_of(sure, images) - 0.1).all()
    assert (found <= expected + 0.01).all()


def test_where_all_losses_are_high_each_image_takes_all_steps(network: nn.Module, images: Tensor) -> None:
    with torch.no_grad():  # A hundredth of a logit apart, but for one class that is out of reach: a loss of 6.
        network[-1].bias[0] -= 600  # type: ignore[index]  # A sequence.
    counted = Counted(network, scale=0.01)
    perturb(counted.eval(), images, torch.zeros(8, dtype=torch.int64), ADAPTIVE)
    assert counted.sizes == [8] * ADAPTIVE_STEPS


def test_where_all_losses_are_low_each_image_takes_one_stretch_after_the_first_look(
    network: nn.Module, images: Tensor
) -> None:
    counted = Counted(OneClass(network))
    perturb(counted.eval(), images, torch.zeros(8, dtype=torch.int64), ADAPTIVE)
    assert counted.sizes == [8] * (1 + (ADAPTIVE_STEPS - 1) % STRETCH + STRETCH)


def steps_of_each(network: nn.Module, images: Tensor) -> list[int]:
    """How many steps each image takes, alone."""
    steps = []
    for row in range(len(images)):
        counted = Counted(network, scale=20.0).eval()
        perturb(counted, images[[row]], TARGETS[[row]], ADAPTIVE)
        steps.append(len(counted.sizes))
    return steps


def test_images_that_have_arrived_leave_and_the_others_fill_up_the_batches(network: nn.Module, images: Tensor) -> None:
    steps = steps_of_each(network, images)
    assert len(set(steps)) > 2, "or nothing could be filled up"
    counted = Counted(network, scale=20.0)
    perturb(counted.eval(), images.repeat(4, 1, 1, 1), TARGETS.repeat(4), ADAPTIVE, batch_size=4)
    assert set(counted.sizes) == {4}
    full, whole_batches = sum(steps), 8 * max(steps)
    assert full <= len(counted.sizes) <= full + 6 < whole_batches


def test_lengths_fall_in_a_straight_line_whatever_the_image(network: nn.Module, images: Tensor) -> None:
    lengths: list[float] = []

    def note(images: Tensor, gradients: Tensor, length: Tensor, rows: Tensor) -> Tensor:
        lengths.append(length.item())
        return images

    inside = torch.ones(1, 1, 1, 1)
    unsure = Counted(network, scale=0.01).eval()
    AdaptiveSteps(unsure, TargetClass(TARGETS[:1]), note, 2.0, 9, 1, inside).from_originals(images[:1])
    assert lengths == pytest.approx(torch.linspace(2.0, LAST_LENGTH * 2.0, 9).tolist())
    lengths.clear()
    AdaptiveSteps(OneClass(network).eval(), TargetClass(torch.tensor([0])), note, 2.0, 45, 1, inside).from_originals(
        images[:1]
    )
    fall = (2.0 - LAST_LENGTH * 2.0) / 44
    assert lengths[:4] == pytest.approx([2.0 - fall * step for step in range(4)])
    assert lengths[3:] == pytest.approx(torch.linspace(lengths[3], LAST_LENGTH * 2.0, STRETCH).tolist())


@pytest.mark.parametrize("steps", [1, 2, STRETCH - 1])
def test_so_few_steps_end_exactly(network: nn.Module, images: Tensor, steps: int) -> None:
    rough = Rough(network).eval()
    perturb(rough, images, TARGETS, ADAPTIVE.model_copy(update={"steps": steps}))
    assert len(rough.exact_network.sizes) == min(steps, 1 + EXACT_STEPS)


def test_where_steps_are_long_the_loss_is_softer(network: nn.Module, images: Tensor) -> None:
    gradients = []

    def note(images: Tensor, gradient: Tensor, length: Tensor, rows: Tensor) -> Tensor:
        gradients.append(gradient)
        return images

    sure = Counted(network, scale=20.0).eval()
    AdaptiveSteps(sure, TargetClass(TARGETS), note, 2.0, 45, 8, torch.ones(8, 1, 1, 1)).from_originals(images)
    softened = Counted(network, scale=20.0 / SOFTEST).eval()
    torch.testing.assert_close(gradients[0], target_gradient(softened, images, TARGETS))
    plain = target_gradient(sure, images, TARGETS)
    torch.testing.assert_close(gradients[-1][-1:], plain[-1:], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("loss", [-1e-9, 0.0, 0.1, 0.5, 1.0, 20.0, float("inf"), float("nan")])
def test_a_lower_loss_is_never_worth_more_steps(loss: float) -> None:
    fewer, more = steps_worth_while(torch.tensor([loss / 2, loss]))
    assert STRETCH <= fewer <= more
    assert more % STRETCH == 0


def test_a_loss_that_is_not_a_number_ends_in_one_line(network: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(NetworkError, match="not finite"):
        perturb(network, images, TARGETS, ADAPTIVE)


@pytest.mark.parametrize("threads", [1, 2, 3], indirect=True)
def test_an_image_comes_out_the_same_alone_and_among_others_on_any_number_of_threads(
    network: nn.Module, images: Tensor, threads: int
) -> None:
    base = prepare(unequal(network), (1, 32, 32), precision="fp32")
    together = perturb_in_batches(base, images, TARGETS, ADAPTIVE, batch_size=2)
    with one_thread():
        alone = [perturb(base, images[[row]], TARGETS[[row]], ADAPTIVE, batch_size=2) for row in range(8)]
    assert torch.equal(together, torch.cat(alone))


def test_only_the_first_gradient_and_those_of_the_last_steps_are_exact(network: nn.Module, images: Tensor) -> None:
    steps = steps_of_each(network, images)
    rough = Rough(unequal(network)).eval()
    found = perturb(rough, images, TARGETS, ADAPTIVE, batch_size=1)
    assert (losses_of(network, found) > EXACT_ABOVE).all()
    assert len(rough.exact_network.sizes) == 8 + 8 * EXACT_STEPS < sum(steps)


def test_what_ends_at_a_small_loss_needs_no_exact_end(network: nn.Module, images: Tensor) -> None:
    rough = Rough(OneClass(network)).eval()
    perturb(rough, images, torch.zeros(8, dtype=torch.int64), ADAPTIVE)
    assert rough.exact_network.sizes == [8]


def test_images_that_the_faster_network_gets_wrong_go_all_the_way_by_the_exact_one(
    network: nn.Module, images: Tensor
) -> None:
    images = torch.cat([images[:4] * 0.2, 0.8 + images[4:] * 0.2])
    found = perturb(Rough(network, wrong_above=0.5).eval(), images, TARGETS, ADAPTIVE, batch_size=2)
    expected = perturb(network, images, TARGETS, ADAPTIVE, batch_size=2)
    assert torch.equal(found[4:], expected[4:])


def test_pixels_outside_the_region_stay_as_they_are(network: nn.Module, images: Tensor) -> None:
    regions = torch.zeros(8, 1, 32, 32)
    for row in range(8):
        regions[row, :, row : row + 16] = 1
    perturbed = perturb(unequal(network), images, TARGETS, ADAPTIVE, regions=regions, batch_size=2)
    outside = regions == 0
    assert torch.equal(perturbed[outside], images[outside])
    assert (perturbed != images).flatten(1).any(dim=1).all()


def test_no_images_are_no_work(network: nn.Module) -> None:
    assert perturb(network, torch.zeros(0, 1, 32, 32), torch.zeros(0).long(), ADAPTIVE).shape == (0, 1, 32, 32)


def test_steps_that_look_at_random_views_cannot_be_adaptive() -> None:
    with pytest.raises(ValueError, match="take plain steps"):
        PerturbationSettings(radius=1, step_size=2, steps=45, schedule="adaptive", augmentation=Augmentation())
    unchecked = ADAPTIVE.model_copy(update={"augmentation": Augmentation()})
    with pytest.raises(SettingsError, match="take plain steps"):
        perturb(tiny_network(), torch.zeros(1, 1, 32, 32), TARGETS[:1], unchecked, seeds=[1])
    with pytest.raises(SettingsError, match="depend on the image"):
        ADAPTIVE.length_of(0)


def test_the_callers_modes_and_defaults_do_not_matter(network: nn.Module, images: Tensor) -> None:
    expected = perturb(network, images, TARGETS, ADAPTIVE)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            found = perturb(network, images, TARGETS, ADAPTIVE)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected)


@pytest.mark.skipif(not computes_in_int8(), reason="this processor has no 8-bit arithmetic")
def test_on_integers_an_image_comes_out_the_same_alone_and_among_others() -> None:
    generator = torch.Generator().manual_seed(3)
    wide = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 5),
    ).eval()
    base = prepare(wide, (3, 32, 32), precision="int8")
    images = torch.rand(6, 3, 32, 32, generator=generator)
    together = perturb(base, images, TARGETS[:6], ADAPTIVE, batch_size=4)
    alone = perturb(base, images[[5]], TARGETS[[5]], ADAPTIVE, batch_size=4)
    assert torch.equal(together[5:], alone)
