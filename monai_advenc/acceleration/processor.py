# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Detect what the processor or GPU supports (bf16, AMX), and the device of a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from itertools import chain

import torch
from torch import Tensor, nn

from monai_advenc.errors import SettingsError


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has native bf16 arithmetic (AVX512-BF16, AMX, or a CUDA GPU that has it)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def device_of(network: nn.Module) -> torch.device:
    """Device of a network's weights; the CPU if it has none."""
    value = next(chain(network.parameters(), network.buffers()), None)
    return torch.device("cpu") if value is None else value.device


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to a device without waiting for what the device computes; one that is there stays."""
    # The driver copies memory that can be paged out only when all earlier work is done.
    from_cpu = device.type == "cuda" and values.device.type == "cpu"
    return (values.pin_memory() if from_cpu else values).to(device, non_blocking=True)


def require_together(network: nn.Module, tensors: Mapping[str, Tensor | None]) -> None:
    """Raise :class:`SettingsError` unless tensors are on the device of a network.

    Args:
        network: A network without weights fits every device.
        tensors: By the name of the argument; ``None``: not given.
    """
    weights = next(chain(network.parameters(), network.buffers()), None)
    if weights is not None:
        require_beside("the network", weights, tensors)


def require_beside(name: str, first: Tensor, others: Mapping[str, Tensor | None]) -> None:
    """Raise :class:`SettingsError` unless other tensors are on the device of the first, which has this name."""
    for other, tensor in others.items():
        if tensor is not None and tensor.device != first.device:
            raise SettingsError(
                f"expected {other} on {first.device} like {name}, got {tensor.device}; move them there: "
                f"{other}.to('{first.device}')"
            )


def choose_device(device: str | None) -> str:
    """The given device, or the GPU where there is one.

    Raises:
        SettingsError: There is no such device.
    """
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=place)
    except (RuntimeError, AssertionError):
        raise SettingsError(f"there is no device {place!r} for PyTorch on this machine; leave --device out") from None
    return place


@cache
def multiplies_tiles() -> bool:
    """Whether the processor has AMX for bf16, and torch's convolutions use it."""
    # An environment variable, under either of two names, can limit the instructions that oneDNN uses.
    limits = (os.environ.get(f"{name}_MAX_CPU_ISA", "ALL").upper() for name in ("ONEDNN", "DNNL"))
    allowed = all(limit in {"ALL", "DEFAULT"} or "AMX" in limit for limit in limits)
    return allowed and torch.cpu._is_amx_tile_supported() and torch.cpu._init_amx()
