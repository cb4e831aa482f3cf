"""Tensors on another device than the network, and the flags of a GPU's arithmetic."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn
from torch.backends import cuda, cudnn, mkldnn

from monai_advenc.acceleration.arithmetic import exact_arithmetic
from monai_advenc.acceleration.prepare import prepare
from monai_advenc.acceleration.row_probe import depends_on_rows
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.encrypt_batch import combine_versions, encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import DeviceMemoryError, SettingsError
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.perturbation.geometry import l2_length
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.conftest import tiny_network
from tests.simulated_device import in_own_process, simulated_device

PLAN = PerturbationSettings(radius=1, step_size=0.2, steps=2)
KEY = EncryptionKey.draw(tuple("abcde"), PLAN, seed=1)

CALLERS_FLAGS: list[tuple[Any, str, object]] = [
    (cudnn, "allow_tf32", True),
    (cudnn, "allow_tf32", False),
    (cuda.matmul, "allow_tf32", True),
    (cudnn.conv, "fp32_precision", "ieee"),
    (cudnn.conv, "fp32_precision", "tf32"),
    (cudnn.rnn, "fp32_precision", "ieee"),
    (cuda.matmul, "fp32_precision", "tf32"),
    (cudnn, "benchmark", True),
    (cudnn, "deterministic", True),
    (mkldnn.matmul, "fp32_precision", "bf16"),
]


def flags() -> list[object]:
    """All that decides the arithmetic of a GPU; how the old flags answer is part of it."""
    operations = [each.fp32_precision for each in (cudnn.conv, cudnn.rnn, cuda.matmul, mkldnn.matmul)]
    return [
        *operations,
        cudnn.benchmark,
        cudnn.deterministic,
        _old("allow_tf32", cudnn),
        _old("allow_tf32", cuda.matmul),
    ]


def _old(name: str, owner: Any) -> object:
    try:
        return getattr(owner, name)
    except RuntimeError:  # It contradicts the flags of the operations.
        return "contradicts"


def restore(before: list[object]) -> None:
    cudnn.allow_tf32, cuda.matmul.allow_tf32 = before[6:]
    for each, value in zip((cudnn.conv, cudnn.rnn, cuda.matmul, mkldnn.matmul), before, strict=False):
        each.fp32_precision = value
    cudnn.benchmark, cudnn.deterministic = before[4:6]


@pytest.mark.parametrize("left_behind", ["images", "targets", "regions"])
@in_own_process
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
@in_own_process
def test_combining_names_what_is_elsewhere_than_the_images(images: Tensor, labels: Tensor, left_behind: str) -> None:
    given = {"versions": images[:, None].expand(-1, 2, -1, -1, -1), "labels": labels}
    with simulated_device() as device:
        moved = {name: value if name == left_behind else value.to(device) for name, value in given.items()}
        with pytest.raises(SettingsError, match=f"expected {left_behind} on gpu:0 like the images, got cpu"):
            combine_versions(KEY, images.to(device), **moved)


@given(changes=st.lists(st.sampled_from(range(len(CALLERS_FLAGS))), max_size=4))
def test_flags_are_exact_inside_and_the_callers_own_again_afterwards(changes: list[int]) -> None:
    before = flags()
    try:
        for change in changes:
            owner, name, value = CALLERS_FLAGS[change]
            setattr(owner, name, value)
        own = flags()
        with pytest.raises(ZeroDivisionError), exact_arithmetic(torch.device("cuda")):  # noqa: PT012  # State inside it.
            with exact_arithmetic(torch.device("cuda:1")):
                pass
            assert [each.fp32_precision for each in (cudnn.conv, cudnn.rnn, cuda.matmul)] == ["ieee"] * 3
            assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
            raise ZeroDivisionError
        assert flags() == own
    finally:
        restore(before)


def test_flags_stay_pinned_until_the_last_of_several_threads_is_done() -> None:
    first, second = exact_arithmetic(torch.device("cuda")), exact_arithmetic(torch.device("cuda"))
    before = flags()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert cudnn.deterministic
    second.__exit__(None, None, None)
    assert flags() == before


@in_own_process
def test_steps_preparing_and_training_compute_exactly_on_a_device(images: Tensor, labels: Tensor) -> None:
    seen: dict[str, set[tuple[bool, str]]] = {}

    class Watching(nn.Module):
        def __init__(self, during: str) -> None:
            super().__init__()
            self.during = during

        def forward(self, batch: Tensor) -> Tensor:
            seen.setdefault(self.during, set()).add((cudnn.deterministic, cudnn.conv.fp32_precision))
            return batch

    def watched(during: str) -> nn.Module:
        return nn.Sequential(Watching(during), tiny_network()).eval()

    before = flags()
    few = ImageSet(images, torch.arange(8) % 2, tuple(map(str, range(8))), ("a", "b"))
    once = TrainingSettings(epochs=1, batch_size=4, precision="fp32", standardize=False)
    with simulated_device() as device:
        perturb(watched("steps").to(device), images.to(device), labels.to(device), PLAN)
        prepare(watched("preparing").to(device), (1, 32, 32), precision="bf16")
        train(nn.Sequential(Watching("training"), tiny_network(2)).to(device), few, None, once)
    assert seen.pop("training") >= {(True, "ieee")}
    assert seen == {during: {(True, "ieee")} for during in ("steps", "preparing")}
    assert flags() == before


@in_own_process
def test_a_length_does_not_depend_on_the_order_of_summation_on_a_device() -> None:
    generator = torch.Generator().manual_seed(3)
    change = torch.randn(64, 1, 39, 101, generator=generator) * 0.01
    order = torch.randperm(39 * 101, generator=generator)
    exact = torch.tensor([math.sqrt(math.fsum(value * value for value in row)) for row in change.flatten(1).tolist()])
    with simulated_device() as device:
        lengths = l2_length(change.to(device)).cpu()
        permuted = l2_length(change.flatten(1)[:, order].to(device)).cpu()
    assert torch.equal(lengths, permuted)
    assert torch.equal(lengths, exact)


class Full(nn.Module):
    """Needs more memory than there is, always or only in bf16."""

    def __init__(self, only: torch.dtype | None) -> None:
        super().__init__()
        self.inside, self.only = tiny_network(), only

    def forward(self, images: Tensor) -> Tensor:
        if self.only in (None, images.dtype):
            raise torch.OutOfMemoryError("CUDA out of memory")
        logits: Tensor = self.inside(images)
        return logits


@pytest.mark.parametrize("only", [None, torch.bfloat16])
def test_too_little_memory_is_not_taken_for_a_wrong_shape_or_for_gradients_that_disagree(
    only: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monai_advenc.acceleration.prepare.computes_in_bf16", lambda _: True)
    monkeypatch.setattr("monai_advenc.acceleration.prepare.multiplies_tiles", lambda: True)
    line = "the GPU has too little free memory for preparing the network for images of 1 x 32 x 32; free some, give"
    with pytest.raises(DeviceMemoryError, match=line):
        prepare(Full(only).eval(), (1, 32, 32))


class Leaking(nn.Module):
    """Lets images of a batch depend on each other, as a kernel might, in one layout or in both."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.inside, self.always = tiny_network(channels=3), always

    def forward(self, images: Tensor) -> Tensor:
        leaks = self.always or not images.is_contiguous()
        logits: Tensor = self.inside(images * (1 + images.mean()) if leaks else images)
        return logits


@in_own_process
def test_a_network_whose_rows_depend_on_each_other_computes_in_the_other_layout() -> None:
    records: list[str] = []
    logging.getLogger("monai_advenc.acceleration.row_probe").addFilter(lambda each: records.append(each.getMessage()))
    with simulated_device() as device:
        images = torch.rand(6, 3, 32, 32).to(device)
        targets = torch.zeros(6, dtype=torch.int64, device=device)
        for _ in range(2):
            kept = prepare(Leaking(always=False).eval().to(device), (3, 32, 32), precision="fp32")
        assert not depends_on_rows(kept, images, targets)
        assert len(records) == 1, "it is said once"
        assert "another layout, in which they do not" in records[0]
        assert prepare(tiny_network(channels=3).to(device), (3, 32, 32)).layout == torch.channels_last
        lost = prepare(Leaking(always=True).eval().to(device), (3, 32, 32), precision="fp32")
        assert depends_on_rows(lost, images, targets)
        assert "the bytes of an image depend on its batch" in records[1]
