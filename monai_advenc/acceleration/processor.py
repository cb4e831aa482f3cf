# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What the processor or GPU can compute: bf16, tiles of AMX, and on which device a network lies."""

from __future__ import annotations

import os
from functools import cache
from itertools import chain

import torch
from torch import nn


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has native bf16 arithmetic (AVX512-BF16, AMX, or a CUDA GPU that has it)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are; the CPU, if it has none."""
    value = next(chain(network.parameters(), network.buffers()), None)
    return torch.device("cpu") if value is None else value.device


@cache
def multiplies_tiles() -> bool:
    """Whether the processor multiplies tiles of bf16 (AMX), and torch's convolutions make use of it."""
    # What oneDNN may use of the processor can be limited by the environment, under either of its names.
    limits = (os.environ.get(f"{name}_MAX_CPU_ISA", "ALL").upper() for name in ("ONEDNN", "DNNL"))
    allowed = all(limit in {"ALL", "DEFAULT"} or "AMX" in limit for limit in limits)
    return allowed and torch.cpu._is_amx_tile_supported() and torch.cpu._init_amx()
