from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.errors import ImageError, SettingsError
from monai_advenc.perturbation.batches import _map_on_threads, perturb_in_batches
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from tests.conftest import tiny_network

SETTINGS = PerturbationSettings(radius=0.5, step_size=0.2, steps=3, augmentation=Augmentation())


@pytest.fixture
def base() -> nn.Module:
    return prepare(tiny_network(), (1, 32, 32), precision="fp32")


def alone(base: nn.Module, images: Tensor, targets: Tensor, regions: Tensor) -> Tensor:
    """Each image in a batch of two with itself, which is what padding comes to, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = [[row, row] for row in range(len(images))]
    found = [perturb(base, images[pair], targets[pair], SETTINGS, seeds=pair, regions=regions[pair]) for pair in rows]
    torch.set_num_threads(before)
    return torch.stack([versions[0] for versions in found])


@pytest.fixture
def regions() -> Tensor:
    regions = torch.ones(8, 1, 32, 32, dtype=torch.bool)
    regions[:, :, :5] = False
    return regions


@pytest.mark.parametrize("threads", [1, 2, 3], indirect=True)
@pytest.mark.parametrize("count", [7, 8])
def test_each_image_comes_out_as_if_alone_on_one_thread(
    base: nn.Module, images: Tensor, labels: Tensor, regions: Tensor, threads: int, count: int
) -> None:
    images, targets, regions = images[:count], (labels[:count] + 1) % 5, regions[:count]
    found = perturb_in_batches(base, images, targets, SETTINGS, batch_size=2, seeds=list(range(count)), regions=regions)
    assert torch.equal(found, alone(base, images, targets, regions))
    assert torch.equal(found[:, :, :5], images[:, :, :5])


@pytest.mark.parametrize("threads", [2, 9], indirect=True)
@pytest.mark.parametrize("count", [1, 3])
def test_fewer_batches_than_threads_come_out_the_same_up_to_rounding(
    base: nn.Module, images: Tensor, labels: Tensor, regions: Tensor, threads: int, count: int
) -> None:
    images, targets, regions = images[:count], (labels[:count] + 1) % 5, regions[:count]
    found = perturb_in_batches(base, images, targets, SETTINGS, batch_size=2, seeds=list(range(count)), regions=regions)
    torch.testing.assert_close(found, alone(base, images, targets, regions), atol=1e-4, rtol=0)


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
def test_what_is_wrong_with_one_batch_is_said_as_ever(
    base: nn.Module, images: Tensor, labels: Tensor, threads: int
) -> None:
    images[-1, 0, 0, 0] = float("nan")
    with pytest.raises(ImageError, match="NaN"):
        perturb_in_batches(base, images, labels, SETTINGS, batch_size=2, seeds=[0] * len(images))


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_threads_to_come_get_as_many_as_before(base: nn.Module, images: Tensor, labels: Tensor, threads: int) -> None:
    perturb_in_batches(base, images, labels, SETTINGS, batch_size=2, seeds=[0] * len(images))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == threads


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_after_a_failure_what_waits_does_not_begin(threads: int) -> None:
    begun = []

    def fail_first(item: int) -> int:
        begun.append(item)
        time.sleep(0.01)
        if item == 0:
            raise ImageError("the first")
        return item

    with pytest.raises(ImageError, match="the first"):
        _map_on_threads(fail_first, range(1000))
    assert len(begun) < 500  # Some begin before this thread hears of it, on a busy machine more.


class Noting(nn.Module):
    """Keeps features from one line to the next, as U-Nets with skips in attributes do, and notes who called."""

    def __init__(self) -> None:
        super().__init__()
        self.network = tiny_network()
        self.callers: set[int] = set()

    def forward(self, images: Tensor) -> Tensor:
        if images.sum() < 0:  # Cannot be traced.
            return images
        self.callers.add(threading.get_ident())
        self.kept = images * 2
        return cast("Tensor", self.network(self.kept))


@pytest.mark.parametrize("threads", [2], indirect=True)
@pytest.mark.parametrize("prepared", [False, True])
def test_a_network_that_may_keep_something_is_called_by_one_thread(
    images: Tensor, labels: Tensor, threads: int, prepared: bool
) -> None:
    network = Noting().eval()
    used = prepare(network, (1, 32, 32), precision="fp32") if prepared else network
    perturb_in_batches(used, images, labels, SETTINGS, batch_size=2, seeds=[0] * len(images))
    noting = next(module for module in used.modules() if isinstance(module, Noting))
    assert noting.callers == {threading.get_ident()}


def test_a_network_that_is_watched_is_not_shared(network: nn.Module) -> None:
    assert prepare(network, (1, 32, 32), precision="fp32").stateless
    cast("nn.Sequential", network)[2].register_forward_hook(lambda *_: None)
    assert not prepare(network, (1, 32, 32), precision="fp32").stateless


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
@pytest.mark.parametrize(
    "mode",
    [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["inference", "no gradients", "autocast"],
)
def test_the_callers_modes_do_not_matter(
    base: nn.Module, images: Tensor, labels: Tensor, threads: int, mode: Callable[[], AbstractContextManager[None]]
) -> None:
    seeds = list(range(len(images)))
    expected = perturb_in_batches(base, images, labels, SETTINGS, batch_size=2, seeds=seeds)
    with mode():
        assert torch.equal(perturb_in_batches(base, images, labels, SETTINGS, batch_size=2, seeds=seeds), expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"seeds": [0]},
        {"seeds": [0] * 9},
        {"seeds": None},
        {"targets": torch.zeros(3, dtype=torch.int64)},
        {"regions": torch.ones(3, 1, 32, 32)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_does_not_fit_the_images_is_refused(base: nn.Module, images: Tensor, wrong: dict[str, Any]) -> None:
    fitting = {"targets": torch.zeros(8, dtype=torch.int64), "batch_size": 2, "seeds": [0] * 8}
    with pytest.raises(SettingsError):
        perturb_in_batches(base, images, settings=SETTINGS, **{**fitting, **wrong})


def test_no_images_are_no_work(base: nn.Module) -> None:
    empty, none = torch.empty(0, 1, 32, 32), torch.empty(0, dtype=torch.int64)
    assert perturb_in_batches(base, empty, none, SETTINGS, batch_size=2, seeds=[]).shape == empty.shape
