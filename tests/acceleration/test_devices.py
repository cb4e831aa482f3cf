"""Tensors on another device than the network, and the flags of a GPU's arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monai_advenc.encryption.encrypt_batch import combine_versions, encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.conftest import tiny_network
from tests.simulated_device import simulated_device

PLAN = PerturbationSettings(radius=1, step_size=0.2, steps=2)
KEY = EncryptionKey.draw(tuple("abcde"), PLAN, seed=1)


@pytest.mark.parametrize("left_behind", ["images", "targets", "regions"])
def test_a_tensor_left_on_the_cpu_is_named_with_what_to_do(images: Tensor, labels: Tensor, left_behind: str) -> None:
    given = {"images": images, "targets": labels, "regions": torch.ones(8, 1, 32, 32, dtype=torch.bool)}
    with simulated_device() as device:
        network = tiny_network().to(device)
        moved = {name: value if name == left_behind else value.to(device) for name, value in given.items()}
        pixels, targets, regions = moved.values()
        line = (
            rf"expected {left_behind} on gpu:0 like the network, got cpu; move them there: {left_behind}.to\('gpu:0'\)"
        )
        with pytest.raises(SettingsError, match=line):
            perturb(network, pixels, targets, PLAN, regions=regions)
        with pytest.raises(SettingsError, match=line):
            perturb_in_batches(network, pixels, targets, PLAN, batch_size=4, regions=regions)
        with pytest.raises(SettingsError, match=line.replace("targets", "labels")):
            encrypt_batch(KEY, network, pixels, targets, regions=regions)


@pytest.mark.parametrize("left_behind", ["versions", "labels"])
def test_combining_names_what_is_elsewhere_than_the_images(images: Tensor, labels: Tensor, left_behind: str) -> None:
    given = {"versions": images[:, None].expand(-1, 2, -1, -1, -1), "labels": labels}
    with simulated_device() as device:
        moved = {name: value if name == left_behind else value.to(device) for name, value in given.items()}
        with pytest.raises(SettingsError, match=f"expected {left_behind} on gpu:0 like the images, got cpu"):
            combine_versions(KEY, images.to(device), **moved)
