"""An objective and a view are values: perturb lowers any loss and looks through any map of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy
from typing_extensions import override

from monai_advenc.acceleration.gradients import target_gradient
from monai_advenc.acceleration.prepare import Precision, prepare
from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.perturbation.objectives import Objective, Rows, TargetClass
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation, RandomViews, Views, draw_moves
from tests.conftest import tiny_network

PAPER = PerturbationSettings(radius=1, step_size=0.25, steps=8)
ADAPTIVE = PerturbationSettings(radius=1, step_size=2, steps=24, schedule="adaptive")
TARGETS = torch.arange(8) % 5


class WithFeatures(nn.Module):
    """A network that answers with its features too."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.body, self.last = network[:-1], network[-1]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features: Tensor = self.body(images)
        return self.last(features), features


class EachPixel(nn.Module):
    """Logits of every pixel, as of a segmentation."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.layers = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


@dataclass(frozen=True)
class NearFeatures(Objective):
    """Squared distance to features."""

    wanted: Tensor

    @override
    def __call__(self, logits: Tensor, features: Tensor | None) -> Tensor:
        assert features is not None
        return (features - self.wanted).square().mean(dim=1)

    @override
    def __len__(self) -> int:
        return len(self.wanted)

    @override
    def of(self, rows: Rows) -> NearFeatures:
        return NearFeatures(self.wanted[rows])


@dataclass(frozen=True)
class TargetMap(Objective):
    """Cross entropy of every pixel toward a class of its own."""

    targets: Tensor

    @override
    def __call__(self, logits: Tensor, features: Tensor | None) -> Tensor:
        return cross_entropy(logits, self.targets, reduction="none").mean(dim=(1, 2))

    @override
    def __len__(self) -> int:
        return len(self.targets)

    @override
    def of(self, rows: Rows) -> TargetMap:
        return TargetMap(self.targets[rows])


@pytest.mark.parametrize("plan", [PAPER, ADAPTIVE])
def test_target_classes_are_one_objective_among_others(
    network: nn.Module, images: Tensor, plan: PerturbationSettings
) -> None:
    assert torch.equal(perturb(network, images, TargetClass(TARGETS), plan), perturb(network, images, TARGETS, plan))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("plan", [PAPER, ADAPTIVE])
def test_features_approach_those_that_are_wanted(
    images: Tensor, plan: PerturbationSettings, precision: Precision
) -> None:
    network = tiny_network()
    assert isinstance(network, nn.Sequential)
    answering = WithFeatures(network).eval()
    objective = NearFeatures(network[:-1](images.flip(0)).detach())
    prepared = prepare(answering, (1, 32, 32), precision=precision)
    assert prepared.num_classes == 5
    perturbed = perturb_in_batches(prepared, images, objective, plan, batch_size=3)
    before, after = (objective(*answering(each)) for each in (images, perturbed))
    assert (after < before).all()
    alone = perturb_in_batches(prepared, images[5:6], objective.of([5]), plan, batch_size=3)
    assert torch.equal(alone, perturbed[5:6]), "no image depends on its neighbors"


@pytest.mark.parametrize("plan", [PAPER, ADAPTIVE])
def test_every_pixel_can_have_a_target(images: Tensor, plan: PerturbationSettings) -> None:
    network = EachPixel().eval()
    objective = TargetMap(network(images).argmin(dim=1))
    perturbed = perturb(network, images, objective, plan)
    before, after = (objective(network(each), None) for each in (images, perturbed))
    assert (after < before).all()


def test_an_objective_of_other_images_is_refused(network: nn.Module, images: Tensor) -> None:
    for targets in (TargetClass(TARGETS[:3]), TARGETS[:3], TARGETS[:, None]):
        with pytest.raises(SettingsError, match="one target for each"):
            perturb(network, images, targets, PAPER)


class Blurred(Views):
    """A view that is no permutation of pixels."""

    @override
    def look(self, images: Tensor, step: int) -> Tensor:
        return avg_pool2d(images, 3, stride=1, padding=1)


def test_the_gradient_through_any_differentiable_view_is_that_of_the_image(network: nn.Module, images: Tensor) -> None:
    views = Blurred()

    def gradient_at(seen: Tensor) -> Tensor:
        return target_gradient(network, seen, TARGETS)

    with torch.no_grad():
        found = views.gradient(gradient_at, images, 0)
    blurred = nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), network).eval()
    torch.testing.assert_close(found, target_gradient(blurred, images, TARGETS))


@pytest.mark.parametrize("seeds", [range(8), range(100, 108)])
def test_a_shift_goes_back_as_autograd_says(network: nn.Module, images: Tensor, seeds: Sequence[int]) -> None:
    views = RandomViews(draw_moves(Augmentation(max_shift=0.3), seeds, 2, (32, 32)), images)

    def gradient_at(seen: Tensor) -> Tensor:
        return target_gradient(network, seen, TARGETS)

    for step in range(2):
        assert torch.equal(views.gradient(gradient_at, images, step), Views.gradient(views, gradient_at, images, step))
