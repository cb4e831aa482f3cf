from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.perturbation.batches import BATCH_SIZE, LARGEST_BATCH, largest_batch, versions_per_pass
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.conftest import tiny_network


def test_as_many_images_go_through_together_as_memory_allows() -> None:
    assert largest_batch(1e12, 1e6) == LARGEST_BATCH
    assert largest_batch(1e9, 1e7) == 64
    assert largest_batch(1e6, 1e7) == BATCH_SIZE
    assert versions_per_pass(tiny_network(), (1, 32, 32)) == BATCH_SIZE


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_takes_larger_batches_and_gives_the_same_images_up_to_rounding(
    network: nn.Module, images: Tensor
) -> None:
    there = copy.deepcopy(network).cuda()
    prepared = prepare(there, (1, 32, 32), precision="fp32")
    assert versions_per_pass(prepared, (1, 32, 32)) > BATCH_SIZE
    plan = PerturbationSettings(radius=1, step_size=0.2, steps=5)
    targets = torch.arange(8) % 5
    on_gpu = perturb(prepared, images.cuda(), targets.cuda(), plan)
    torch.testing.assert_close(on_gpu.cpu(), perturb(network, images, targets, plan), atol=1e-3, rtol=0)
