"""What several processes of a bundle call, without the GPUs that they would call it on."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
from monai.bundle import ConfigParser
from torch import Tensor, nn

from monai_advenc.acceleration.hardware import Hardware
from monai_advenc.bundle import (
    EncryptedOutput,
    MixedPrecisionInferer,
    encrypted_output,
    mixed_precision,
    own_device,
    processes,
)
from monai_advenc.errors import OutputError
from tests.bundles.conftest import BUNDLES, World
from tests.conftest import tiny_network

Calls = list[tuple[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What was called to set a device and to start the group, in this order."""
    found: Calls = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: found.append(("device", device)))
    monkeypatch.setattr(dist, "init_process_group", lambda **given: found.append(("group", given)))
    monkeypatch.setattr(dist, "is_initialized", lambda: False)
    monkeypatch.setattr(dist, "get_rank", lambda: 3)
    monkeypatch.setattr(processes.idist, "get_rank", lambda: found.append(("ignite", None)))
    return found


@pytest.mark.parametrize(
    ("gpus", "number", "together", "device", "backend"),
    [
        (4, 2, 4, "cuda:2", "cpu:gloo,cuda:nccl"),
        (8, 3, 4, "cuda:3", "cpu:gloo,cuda:nccl"),
        (1, 1, 2, "cuda:0", "gloo"),
        (2, 3, 4, "cuda:1", "gloo"),
        (0, 1, 2, "cpu", "gloo"),
    ],
)
def test_each_process_has_its_own_gpu_before_the_group_starts(
    gpus: int, number: int, together: int, device: str, backend: str, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for name, value in (("LOCAL_RANK", number), ("LOCAL_WORLD_SIZE", together), ("RANK", number + 8)):
        monkeypatch.setenv(name, str(value))
    place = torch.device(device)
    assert own_device() == place
    assert processes.start_processes() == 3
    own = place if "nccl" in backend else None
    started = [("group", {"backend": backend, "device_id": own}), ("ignite", None)]
    assert calls == [*([("device", place)] if gpus else []), *started]


@pytest.mark.parametrize("bundle", ["brain_tumor_base", "brain_tumor_victim", "adversarial_encryption"])
def test_bundles_leave_the_precision_to_us_and_take_the_device_of_their_process(bundle: str) -> None:
    files = sorted((BUNDLES / bundle / "configs").glob("*.yaml"))
    assert not [path.name for path in files if "amp: true" in path.read_text() or "amp: '@" in path.read_text()]
    overlays = [ConfigParser.load_config_file(path) for path in files if path.name.startswith("multi_gpu")]
    assert [each["device"] for each in overlays] == ["$advenc.own_device()"]


def test_training_of_bundles_computes_in_float32_on_a_cpu(network: nn.Module, images: Tensor) -> None:
    assert torch.equal(MixedPrecisionInferer()(images, network), network(images))


@pytest.mark.parametrize("has_bf16", [True, False])
def test_training_of_bundles_computes_in_bf16_on_a_gpu_that_has_it(
    images: Tensor, has_bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[tuple[Any, ...]] = []

    def autocast(*given: Any, **named: Any) -> Any:
        entered.append((*given, *named.values()))
        return nullcontext()

    monkeypatch.setattr(mixed_precision, "computes_in_bf16", lambda _: has_bf16)
    monkeypatch.setattr(torch, "autocast", autocast)
    there = cast("Tensor", SimpleNamespace(device=torch.device("cuda:1")))
    logits = MixedPrecisionInferer()(there, lambda _: images.bfloat16())
    assert entered == [("cuda", torch.bfloat16, has_bf16)]
    assert logits.dtype == torch.float32


def test_processes_with_different_gpus_are_refused(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONAI_ADVENC_INSIST", "1")
    output = EncryptedOutput(str(world.train), str(tmp_path / "out"), str(world.key), tiny_network(), insist=True)
    other = Hardware("cuda", {"gpu": "NVIDIA A100", "cuda": "12.8"})
    monkeypatch.setattr(encrypted_output, "_gather", lambda own: [*own, other])
    try:
        with pytest.raises(OutputError, match=r"different processors \(gpu NVIDIA A100, cuda 12.8, not cpu\)"):
            output.missing()
    finally:
        output.close()
