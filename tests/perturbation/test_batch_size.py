from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.errors import DeviceMemoryError
from monai_advenc.perturbation.batch_size import BATCH_SIZE, BatchSize, fitting_batch_size, versions_per_pass
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.conftest import tiny_network
from tests.simulated_device import in_own_process, simulated_device


class Small(nn.Module):
    """A network on a device whose memory holds so many images."""

    def __init__(self, holds: int, message: str | None = None) -> None:
        super().__init__()
        self.inside, self.holds, self.message, self.seen = tiny_network(), holds, message, list[int]()

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        if len(images) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory") if self.message is None else RuntimeError(self.message)
        logits: Tensor = self.inside(images)
        return logits


@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_a_gpu_takes_the_largest_power_of_two_whose_pixels_fill_a_pass(height: int, width: int) -> None:
    count = BatchSize.on("cuda").of((3, height, width))
    assert count in {32, 64, 128, 256, 512, 1024, 2048}
    assert count == 32 or count * height * width <= 2**21
    assert count == 2048 or 2 * count * height * width > 2**21
    assert BatchSize.on("cuda").of((1, height, width)) == count, "channels do not matter"


@in_own_process
def test_the_rule_is_that_of_the_device_not_of_its_free_memory() -> None:
    assert BatchSize.on("cpu").of((1, 32, 32)) == BATCH_SIZE == 8
    assert [BatchSize.on("cuda").of((1, side, side)) for side in (32, 64, 224, 320, 1024)] == [2048, 512, 32, 32, 32]
    with simulated_device() as device:
        assert versions_per_pass(tiny_network().to(device), (1, 64, 64)) == 512
    assert versions_per_pass(tiny_network(), (1, 64, 64)) == 8


@pytest.mark.parametrize("size", [BatchSize(), BatchSize(12), BatchSize(None), BatchSize(None, halved=True)])
def test_a_noted_batch_size_is_the_same_one_later(size: BatchSize) -> None:
    assert BatchSize.noted(size.note) == size


@pytest.mark.parametrize("message", [None, "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "CUDA error: out of memory"])
@in_own_process
def test_too_little_memory_halves_the_batch_once(message: str | None) -> None:
    with simulated_device() as device:
        network = Small(40, message).eval().to(device)
        assert fitting_batch_size(network, (1, 180, 180), BatchSize(None)) == BatchSize(None, halved=True)
        assert network.seen == [64, 32]
        roomy = Small(64).eval().to(device)
        assert fitting_batch_size(roomy, (1, 180, 180), BatchSize(None)) == BatchSize(None)
        line = (
            "the GPU has too little free memory for 32 images of 180 x 180 pixels at a time; free some, give a smaller"
        )
        with pytest.raises(DeviceMemoryError, match=line):
            fitting_batch_size(Small(31, message).eval().to(device), (1, 180, 180), BatchSize(None))
        with pytest.raises(DeviceMemoryError, match="for 48 images"):
            fitting_batch_size(Small(40, message).eval().to(device), (1, 180, 180), BatchSize(48))


@in_own_process
def test_other_errors_of_a_network_are_not_taken_for_too_little_memory() -> None:
    with simulated_device() as device, pytest.raises(RuntimeError, match="shape mismatch"):
        fitting_batch_size(Small(1, "shape mismatch").eval().to(device), (1, 180, 180), BatchSize(None))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same_images_up_to_rounding(network: nn.Module, images: Tensor) -> None:
    prepared = prepare(copy.deepcopy(network).cuda(), (1, 32, 32), precision="fp32")
    plan = PerturbationSettings(radius=1, step_size=0.2, steps=5)
    targets = torch.arange(8) % 5
    on_gpu = perturb(prepared, images.cuda(), targets.cuda(), plan)
    torch.testing.assert_close(on_gpu.cpu(), perturb(network, images, targets, plan), atol=1e-3, rtol=0)
