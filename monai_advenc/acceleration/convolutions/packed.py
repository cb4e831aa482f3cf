# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolutions that keep their weights in oneDNN's memory layout.

Otherwise torch reorders the weights in every call, which costs a tenth of the time for few small images. The layout
depends only on the shape, so earlier calls never change a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration.graphs import ONE_AT_A_TIME

_ALMOST_RELU = ("leaky_relu", [1e-30], "")
"""Activation after a convolution: a leaky ReLU with a negligible slope. oneDNN's ReLU turns NaN into zero and would
hide that a network is broken; this one keeps NaN."""


@cache
def packing_works() -> bool:
    """Whether this build of torch has oneDNN's convolutions on packed weights, and they give correct results."""
    features, weight = torch.ones(1, 16, 5, 5), torch.ones(16, 16, 3, 3)
    expected = functional.conv2d(features, weight, stride=2, padding=1)
    try:
        packed = PackedConvolution(weight, None, (1, 1), (2, 2))
        found = packed(features), packed(features, -expected, activated=True), packed(-features, activated=True)
        back = PackedTransposedConvolution(weight, (1, 1), (2, 2))(expected, (5, 5))
    except (AttributeError, RuntimeError):
        return False
    transposed = functional.conv_transpose2d(expected, weight, stride=2, padding=1)
    right = torch.equal(found[0], expected) and torch.equal(back, transposed)
    return right and not found[1].any() and bool((found[2].abs() < 1e-20).all())


def can_be_packed_for(features: Tensor, channels: int, stride: tuple[int, ...] = (1, 1)) -> bool:
    """Whether oneDNN can convolve such features; torch handles the rest and has better error messages."""
    # On some processors oneDNN reads past a single channel if the stride is larger along rows (torch 2.13.0).
    past_the_end = channels == 1 and stride[0] < stride[-1]
    usual = features.dim() == 4 and features.shape[1] == channels and features.numel() > 0 and not past_the_end
    return usual and features.device.type == "cpu" and features.dtype in _numbers()


@cache
def _numbers() -> tuple[torch.dtype, ...]:
    in_bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if in_bf16 else (torch.float32,)


class PackedWeight:
    """Weights in the layout of the last call, packed once even if several threads want them."""

    def __init__(self) -> None:
        self._kept: tuple[object, Tensor] | None = None

    def get(self, wanted: object, pack: Callable[[], Tensor]) -> Tensor:
        """Return the weights in the wanted layout; pack them if they are not kept."""
        kept = self._kept  # Read once, because another thread may replace it.
        if kept is None or kept[0] != wanted:
            with ONE_AT_A_TIME:
                kept = self._kept
                if kept is None or kept[0] != wanted:
                    self._kept = None  # Freed first, because packed weights can take several times the memory.
                    kept = self._kept = (wanted, pack())
        return kept[1]

    def __getstate__(self) -> dict[str, None]:
        return {"_kept": None}  # Packed weights can be neither copied nor sent; they are packed again on use.


class PackedConvolution(nn.Module):
    """Convolution of features on a CPU with fixed weights, without autograd.

    Args:
        weight: ``(O, C, H, W)``.
        bias: ``(O,)``.
        padding: Rows and columns of zeros on each side.
        stride: Along rows and columns.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...], stride: tuple[int, ...] = (1, 1)
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.padding, self.stride = padding, stride
        self._packed = PackedWeight()

    def forward(self, features: Tensor, summand: Tensor | None = None, *, activated: bool = False) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``.

        Args:
            features: The input.
            summand: Added to the result; of the same shape and type.
            activated: Whether to apply ReLU (with a slope of 1e-30 for negative numbers).
        """
        features = features.contiguous(memory_format=torch.channels_last)
        geometry = (self.padding, self.stride, (1, 1), 1)
        weight = self._packed.get(
            (features.shape, features.dtype),
            lambda: torch.ops.mkldnn._reorder_convolution_weight(self.weight, *geometry, list(features.shape)),
        )
        convolve = torch.ops.mkldnn._convolution_pointwise
        result: Tensor
        if summand is None:
            end = _ALMOST_RELU if activated else ("none", [], "")
            result = convolve(features, weight, self.bias, *geometry, *end)
        else:
            summand = summand.contiguous(memory_format=torch.channels_last)
            result = convolve.binary(features, summand, weight, self.bias, *geometry, "add", 1.0, None, [], None)
            finish(result, None, activated=activated)
        return result


class PackedTransposedConvolution(nn.Module):
    """Gradient of a strided convolution with respect to its input.

    Args:
        weight: ``(O, C, H, W)`` of the convolution.
        padding: Padding of the convolution.
        stride: Stride of the convolution.
    """

    weight: Tensor

    def __init__(self, weight: Tensor, padding: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.padding, self.stride = padding, stride
        self._packed = PackedWeight()

    def forward(self, gradient: Tensor, sides: tuple[int, ...]) -> Tensor:
        """Map a gradient ``(N, O, H', W')`` to that of the input ``(N, C, H, W)``, whose ``sides`` are H and W."""
        parts = zip(sides, gradient.shape[-2:], self.weight.shape[-2:], self.padding, self.stride, strict=True)
        beyond = tuple(side - ((out - 1) * step + size - 2 * pad) for side, out, size, pad, step in parts)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        geometry = (self.padding, beyond, self.stride, (1, 1), 1)
        weight = self._packed.get(
            (gradient.shape, gradient.dtype, beyond),
            lambda: torch.ops.mkldnn._reorder_convolution_transpose_weight(
                self.weight, *geometry, list(gradient.shape)
            ),
        )
        result: Tensor = torch.ops.mkldnn._convolution_transpose_pointwise(
            gradient, weight, None, *geometry, "none", [], ""
        )
        return result


def outputs_of(
    sides: Sequence[int], size: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> tuple[int, ...]:
    """Height and width of a convolution's output for features with these ``sides``."""
    parts = zip(sides, size, padding, stride, strict=True)
    return tuple((side + 2 * zeros - taps) // step + 1 for side, taps, zeros, step in parts)


def finish(output: Tensor, summand: Tensor | None, *, activated: bool) -> Tensor:
    """Add a summand to an output and activate it, in place; nothing else may use the output yet."""
    if summand is not None:
        output += summand
    return output.relu_() if activated else output
