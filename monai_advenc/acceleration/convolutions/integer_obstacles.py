# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Why a network cannot compute in int8, in words."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn
from torch.fx import GraphModule

from monai_advenc.acceleration.convolutions.integer import computes_in_int8

NO_CHAIN: Final = (
    "the network has no convolutions after ReLU that are wide enough to gain at this image size, or it requires float32"
)


def obstacle_to_int8(network: nn.Module, device: torch.device, *, stateless: bool, compiled: bool) -> str | None:
    """The first reason against int8 that holds of a network with its batch norm folded; ``None`` if there is none.

    Args:
        network: The network.
        device: Where it is.
        stateless: Whether its calls share no state.
        compiled: Whether its convolutions are left to ``torch.compile``.
    """
    if device.type != "cpu":
        return f"the network is on {device.type}, and int8 is for CPUs"
    if compiled:
        return "the network is compiled"
    if not isinstance(network, GraphModule):
        return "torch.fx cannot trace the network"
    if not stateless:
        return "the network keeps state from call to call"
    if not computes_in_int8():
        return "this CPU has neither VNNI nor AMX, or this build of PyTorch does not use them"
    return None
