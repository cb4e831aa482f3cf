# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""int8 convolutions: per instruction, twice as many multiplications as in bf16, four times as many as in float32.

A value is ``code * scale`` with an integer code. Activations after ReLU have codes 0 to 255 and one scale for all
images, found beforehand. Gradients have signed codes and a scale per image, from the image's largest gradient. So
neither depends on the other images of a batch. Weights have a scale per output channel. Products are summed in int32.

NaN has no code: to detect it, compute in floating point as well.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration.convolutions.packed import PackedWeight

LARGEST_ACTIVATION = 255
LARGEST_GRADIENT = 126
"""Largest code of a gradient; one less than a signed byte holds, because the scale is rounded."""

_LARGEST_WEIGHT = 127
_ZERO = 128
"""Offset of a gradient's code, because the processor multiplies unsigned by signed bytes."""

_FEW_POSITIONS = 64
"""Up to 8x8 positions, a large part of a 3x3 kernel's input is padding. oneDNN skips padding only if it has code 0;
otherwise the surplus is computed once and subtracted."""


@cache
def computes_in_int8() -> bool:
    """Whether the processor sums int8 products exactly (VNNI, AMX) and this build of torch uses that.

    Older processors sum two products in 16 bits, which overflows silently. All functions used here are tested on
    numbers with an exact representation.
    """
    weight = torch.ones(16, 16, 3, 3)
    activations = torch.full((1, 16, 9, 9), LARGEST_ACTIVATION, dtype=torch.uint8)
    gradients = torch.full((1, 16, 9, 9), -LARGEST_GRADIENT, dtype=torch.int8)
    sums = functional.conv2d(torch.ones(1, 16, 9, 9), weight, padding=1)
    ahead, centre = LARGEST_ACTIVATION * sums, -LARGEST_GRADIENT * sums[..., 4, 4]
    try:
        if not torch.cpu._is_vnni_supported():
            return False
        convolution = IntegerConvolution(weight, None, (1, 1), (1, 1))
        strided = IntegerConvolution(weight, None, (1, 1), (2, 2))
        found_and_expected = [
            (convolution.to_floats(activations, 1.0, torch.float32), ahead),
            (convolution.to_floats(activations, 1.0, torch.float32, -ahead, activated=True), torch.zeros_like(ahead)),
            (strided.to_floats(activations, 1.0, torch.float32), ahead[:, :, ::2, ::2]),
            (convolution.to_codes(activations, 1.0, float(LARGEST_ACTIVATION)).float(), sums),
            (convolution.gradient_to_floats(gradients, 1.0, torch.float32), -LARGEST_GRADIENT * sums),
            (convolution.gradient_to_codes(gradients, 1.0, 2.0 * LARGEST_GRADIENT).float(), -sums / 2),
            (convolution.gradient_to_floats(gradients[:, :, :3, :3], 1.0, torch.float32)[..., 1, 1], centre),
        ]
        return all(torch.allclose(found, expected) for found, expected in found_and_expected)
    except (AttributeError, RuntimeError):
        return False


def encode_activations(features: Tensor, scale: float) -> Tensor:
    """Encode non-negative values; values out of range get the nearest code."""
    codes = _as_new_float32(features).mul_(1 / scale).round_().clamp_(0, LARGEST_ACTIVATION)
    return codes.to(torch.int16).to(torch.uint8)  # Through int16, which is five times as fast as a direct conversion.


def encode_gradient(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Encode a gradient ``(N, C, H, W)`` as signed codes; return them and the scale of each image ``(N, 1, 1, 1)``."""
    exact = _as_new_float32(gradient)
    largest = exact.permute(0, 2, 3, 1).flatten(1).abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny * 1e6)
    # Rounded to the gradient's type, so that multiplying by it later is exact.
    scale = (largest / LARGEST_GRADIENT).to(gradient.dtype).view(-1, 1, 1, 1)
    return exact.mul_(1 / scale.float()).round_().to(torch.int8), scale


def _as_new_float32(values: Tensor) -> Tensor:
    return values.to(torch.float32, copy=True, memory_format=torch.channels_last)


class IntegerConvolution(nn.Module):
    """Convolution of codes with fixed 8-bit weights.

    Args:
        weight: ``(O, C, H, W)``.
        bias: ``(O,)``.
        padding: Rows and columns of zeros on each side.
        stride: Along rows and columns.
    """

    codes: Tensor
    scales: Tensor
    zeros: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        weight = weight.detach().float()
        largest = weight.abs().amax(dim=(1, 2, 3)).clamp_min(torch.finfo(torch.float32).tiny * 1e6)
        self.register_buffer("scales", largest / _LARGEST_WEIGHT)
        self.register_buffer("codes", (weight / self.scales.view(-1, 1, 1, 1)).round().to(torch.int8))
        self.register_buffer("zeros", torch.zeros(len(weight), dtype=torch.int32))
        self.register_buffer("bias", None if bias is None else bias.detach().float())
        self.padding, self.stride = list(padding), list(stride)
        self._packed, self._surplus = PackedWeight(), PackedWeight()

    def to_floats(
        self,
        codes: Tensor,
        scale: float,
        dtype: torch.dtype,
        summand: Tensor | None = None,
        *,
        activated: bool = False,
    ) -> Tensor:
        """Map codes of activations ``(N, C, H, W)`` to floats ``(N, O, H', W')``, add a summand and apply ReLU."""
        if summand is None:
            return self._convolve(codes, scale, 0, dtype, 1.0, activated=activated)
        onto = summand.clone(memory_format=torch.channels_last)
        return self._convolve_onto(onto, codes, scale, activated=activated)

    def to_codes(self, codes: Tensor, scale: float, result_scale: float) -> Tensor:
        """Map codes of activations ``(N, C, H, W)`` to codes of the result after ReLU, with another scale."""
        return self._convolve(codes, scale, 0, torch.uint8, result_scale, activated=True)

    def gradient_to_floats(self, codes: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
        """Map signed codes ``(N, C, H, W)`` to floats ``(N, O, H', W')``."""
        shifted = codes.view(torch.uint8) ^ _ZERO
        if self._mostly_sees_padding(codes):
            return self._convolve_less_surplus(shifted, scale).to(dtype)
        return self._convolve(shifted, scale, _ZERO, dtype, 1.0)

    def gradient_to_codes(self, codes: Tensor, scale: float, result_scale: float) -> Tensor:
        """Map signed codes ``(N, C, H, W)`` to signed codes with another scale."""
        shifted = codes.view(torch.uint8) ^ _ZERO
        if self._mostly_sees_padding(codes):
            floats = self._convolve_less_surplus(shifted, scale / result_scale)
            return floats.round_().clamp_(-LARGEST_GRADIENT, LARGEST_GRADIENT).to(torch.int8)
        return self._convolve(shifted, scale, _ZERO, torch.int8, result_scale)

    def _convolve(
        self, codes: Tensor, scale: float, zero: int, dtype: torch.dtype, result_scale: float, activated: bool = False
    ) -> Tensor:
        end: tuple[Any, ...] = ("relu" if activated else "none", [], "")
        result: Tensor = torch.ops.onednn.qconv2d_pointwise.default(
            *self._operands(codes, scale, zero), result_scale, 0, dtype, *end
        )
        return result

    def _convolve_onto(
        self, summand: Tensor, codes: Tensor, scale: float, scales: Tensor | None = None, activated: bool = False
    ) -> Tensor:
        """Add the convolution to a summand in place; the result has the summand's type."""
        operands = self._operands(codes, scale, 0, scales)
        end: tuple[Any, ...] = (1.0, 0, "sum", 1.0, "relu" if activated else "none", [], "")
        result: Tensor = torch.ops.onednn.qconv2d_pointwise.binary(
            *operands[:6], summand, *operands[6:], 1.0, 0, summand.dtype, *end
        )
        return result

    def _convolve_less_surplus(self, shifted: Tensor, scale: float) -> Tensor:
        """The float32 convolution of shifted codes minus that of the shift; both are integers until they are scaled.

        So a kernel over zeros gives exactly zero. That matters, because only the sign of a gradient may count.
        """

        def compute() -> Tensor:
            shift = torch.full((1, *shifted.shape[1:]), -_ZERO, dtype=torch.float64, device=shifted.device)
            surplus = functional.conv2d(shift, self.codes.double(), None, self.stride, self.padding)
            return surplus.to(torch.float32, memory_format=torch.channels_last)

        surplus = self._surplus.get(shifted.shape[1:], compute)
        # Always a copy, because the result overwrites it.
        onto = surplus.expand(len(shifted), -1, -1, -1).clone(memory_format=torch.channels_last)
        sums = self._convolve_onto(onto, shifted, 1.0, torch.ones_like(self.scales))
        return sums.mul_(self.scales.view(1, -1, 1, 1) * scale)

    def _operands(self, codes: Tensor, scale: float, zero: int, scales: Tensor | None = None) -> list[Any]:
        geometry: list[Any] = [self.stride, self.padding, [1, 1], 1]
        packed = self._packed.get(
            (codes.shape, zero),
            lambda: torch.ops.onednn.qconv_prepack(self.codes, self.scales, scale, zero, *geometry, list(codes.shape)),
        )
        return [codes, scale, zero, packed, self.scales if scales is None else scales, self.zeros, self.bias, *geometry]

    def _mostly_sees_padding(self, codes: Tensor) -> bool:
        return codes.shape[2] * codes.shape[3] <= _FEW_POSITIONS and any(self.padding)
