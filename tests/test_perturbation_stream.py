from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.acceleration import prepare
from monai_advenc.errors import ImageError
from monai_advenc.perturbation import PerturbationSettings, perturb
from monai_advenc.perturbation_stream import perturb_in_batches
from monai_advenc.random_views import Augmentation
from tests.conftest import tiny_network

SETTINGS = PerturbationSettings(radius=0.5, step_size=0.2, steps=3, augmentation=Augmentation())


@pytest.fixture
def base() -> nn.Module:
    return prepare(tiny_network(), (1, 32, 32), precision="fp32")


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(before)


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


def test_no_images_are_no_work(base: nn.Module) -> None:
    empty = torch.empty(0, 1, 32, 32)
    assert (
        perturb_in_batches(base, empty, torch.empty(0, dtype=torch.int64), SETTINGS, batch_size=2).shape == empty.shape
    )
