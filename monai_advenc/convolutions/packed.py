# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A convolution that keeps its weights in the order in memory that the processor's convolution wants."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@cache
def packing_works() -> bool:
    """Whether this build of torch has oneDNN's convolution on packed weights, and it computes a convolution."""
    features, weight = torch.ones(1, 16, 4, 4), torch.ones(16, 16, 3, 3)
    try:
        packed = PackedConvolution(weight, None, (1, 1))(features)
    except (AttributeError, RuntimeError):
        return False
    return torch.equal(packed, functional.conv2d(features, weight, padding=1))


class PackedConvolution(nn.Module):
    """A convolution of stride 1 that keeps its weights in the order in memory that oneDNN wants for an input's shape.

    torch reorders the weights in every call otherwise, which for few small images costs a tenth of the time. The order
    depends on the shape alone, so what was computed before never changes a result.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.padding = padding
        self._packed: tuple[object, Tensor] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``; nothing is recorded for a gradient."""
        if features.device.type != "cpu":
            return functional.conv2d(features, self.weight, self.bias, padding=self.padding)
        features = features.contiguous(memory_format=torch.channels_last)
        wanted = (features.shape, features.dtype)
        kept = self._packed  # Once: another thread may replace it in between.
        if kept is None or kept[0] != wanted:
            packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, self.padding, (1, 1), (1, 1), 1, list(features.shape)
            )
            kept = self._packed = (wanted, packed)
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            features, kept[1], self.bias, self.padding, (1, 1), (1, 1), 1, "none", [], ""
        )
        return result

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # Made again where it is needed; it can be neither copied nor sent.
