"""Steps on a simulated accelerator: no mixes of devices, and no waits of the processor inside the loops."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation, draw_moves
from tests.conftest import tiny_network
from tests.simulated_device import in_own_process, operations, simulated_device, waits

VIEWS = Augmentation(max_shift=0.2)


def waits_of(steps: int, images: Tensor, precision: str = "fp32", **settings: object) -> Counter[str]:
    """Waits of a whole call with so many steps."""
    plan = PerturbationSettings(**{"radius": 1.0, "step_size": 0.3, "steps": steps, **settings})
    with simulated_device() as device:
        network = prepare(tiny_network().to(device), (1, 32, 32), precision=precision, steps=steps)  # type: ignore[arg-type]
        there, targets = images.to(device), torch.arange(len(images), device=device) % 5
        waits.clear()
        perturb(network, there, targets, plan, seeds=list(range(len(images))))
        return Counter(waits)


@pytest.mark.parametrize(
    ("schedule", "precision", "fewer", "more"),
    [("paper", "fp32", 2, 6), ("fast", "fp32", 2, 6), ("paper", "bf16", 60, 62)],
)
@in_own_process
def test_a_step_waits_for_nothing(images: Tensor, schedule: str, precision: str, fewer: int, more: int) -> None:
    for augmentation in (None, VIEWS):
        few, many = (
            waits_of(steps, images[:2], precision, schedule=schedule, augmentation=augmentation)
            for steps in (fewer, more)
        )
        assert few == many, "checks before and after the steps are all there is"


@in_own_process
def test_adaptive_steps_wait_once_in_six(images: Tensor) -> None:
    few, many = (waits_of(steps, images[:2], schedule="adaptive", step_size=2.0) for steps in (9, 69))
    assert sum((many - few).values()) <= (69 - 9) / 6, many - few


@pytest.mark.parametrize(
    "settings", [{}, {"augmentation": VIEWS}, {"norm": "linf", "radius": 0.1}, {"schedule": "fast"}]
)
@in_own_process
def test_a_device_gives_the_images_of_the_cpu_up_to_rounding(images: Tensor, settings: dict[str, object]) -> None:
    plan = PerturbationSettings(**{"radius": 1.0, "step_size": 0.2, "steps": 4, **settings})
    regions = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(2)) < 0.7
    scales, targets, seeds = torch.linspace(0.5, 1, 8), torch.arange(8) % 5, list(range(8))
    given = {"batch_size": 3, "seeds": seeds, "scales": None if plan.norm == "linf" else scales}
    here = perturb_in_batches(tiny_network(), images, targets, plan, regions=regions, **given)
    with simulated_device() as device:
        network = tiny_network().to(device)
        there = perturb_in_batches(
            network, images.to(device), targets.to(device), plan, regions=regions.to(device), **given
        ).cpu()
    torch.testing.assert_close(there, here, atol=1e-4, rtol=0)


@in_own_process
def test_adaptive_steps_on_a_device_are_those_of_the_cpu_whatever_fills_the_batches(images: Tensor) -> None:
    plan = PerturbationSettings(radius=1.0, step_size=2.0, steps=33, schedule="adaptive")
    targets = torch.arange(8) % 5
    here = perturb(tiny_network(), images, targets, plan, batch_size=3)
    with simulated_device() as device:
        there = perturb(tiny_network().to(device), images.to(device), targets.to(device), plan, batch_size=3).cpu()
    torch.testing.assert_close(there, here, atol=1e-4, rtol=0)


class Watched(nn.Module):
    """Notes for each pass how many operations there were before, and how the images lie in memory."""

    layout = torch.channels_last

    def __init__(self) -> None:
        super().__init__()
        self.inside = tiny_network(channels=3).to(memory_format=torch.channels_last)
        self.passes: list[int] = []
        self.channels_last: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.passes.append(len(operations))
        self.channels_last.append(images.is_contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.inside(images)
        return logits


@pytest.mark.parametrize("settings", [{}, {"augmentation": VIEWS}, {"schedule": "fast", "augmentation": VIEWS}])
@in_own_process
def test_steps_are_the_same_operations_so_that_a_graph_could_hold_one(settings: dict[str, object]) -> None:
    plan = PerturbationSettings(**{"radius": 1.0, "step_size": 0.3, "steps": 5, **settings})
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with simulated_device() as device:
        network = Watched().eval().to(device)
        perturb(network, images.to(device), torch.arange(4).to(device), plan, seeds=list(range(4)))
        # A step takes its row of a table, which a graph would find in the same place each time.
        steps = [
            [each for each in operations[start:end] if each[0] != "aten.select.int"]
            for start, end in zip(network.passes, network.passes[1:], strict=False)
        ]
    assert len(steps) == 4
    assert len(steps[0]) > 20
    assert all(step == steps[0] for step in steps)
    assert network.channels_last == [True] * 5, "nothing is copied into the layout of the network"


@in_own_process
def test_moves_that_were_drawn_ahead_give_the_same_images_and_fewer_waits(images: Tensor) -> None:
    plan = PerturbationSettings(radius=1.0, step_size=0.3, steps=3, augmentation=VIEWS)
    seeds, targets = list(range(8)), torch.arange(8) % 5
    ahead = draw_moves(VIEWS, seeds, plan.steps, (32, 32))
    here = perturb_in_batches(tiny_network(), images, targets, plan, batch_size=3, seeds=seeds)
    assert torch.equal(perturb_in_batches(tiny_network(), images, targets, plan, batch_size=3, moves=ahead), here)
    with simulated_device() as device:
        network, there, targets = tiny_network().to(device), images.to(device), targets.to(device)
        waits.clear()
        perturb_in_batches(network, there, targets, plan, batch_size=3, moves=ahead)
        assert not [each for each in waits if "copy to device" in each], "what a batch needs is copied without waiting"
