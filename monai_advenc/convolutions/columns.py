# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolutions of small features as products of matrices, for processors that multiply tiles (AMX).

Such a processor takes 16 rows of a matrix at a time. oneDNN's convolution makes them of outputs that lie beside each
other, so that with 4x4 outputs, as in the last stage of a ResNet on CIFAR-10, three quarters of a tile stay empty. Here
what a kernel sees is written out as one row of a matrix first ("im2col"), so that the outputs of all images are rows of
one product. Where the outputs are wider, writing out costs more than it gains.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.convolutions.blocks import BlockGradient
from monai_advenc.convolutions.packed import (
    ALMOST_RELU,
    PackedConvolution,
    PackedTransposedConvolution,
    PackedWeight,
    finish,
)

MOST_OUTPUTS_IN_A_ROW = 6
"""With 5 beside each other a product takes two thirds of a convolution's time, with 6 four fifths, with 7 as long."""


@cache
def multiplies_tiles() -> bool:
    """Whether the processor multiplies tiles of bf16 (AMX), and this build of torch products on packed weights."""
    if not torch.cpu._is_amx_tile_supported():
        return False
    # Sums below 256, which bf16 has every integer of.
    features = (torch.arange(2 * 16 * 9) % 2).reshape(2, 16, 3, 3).bfloat16()
    weight = (torch.arange(16 * 16 * 9) % 5 == 0).reshape(16, 16, 3, 3).bfloat16()
    expected = functional.conv2d(features.float(), weight.float(), padding=1).bfloat16()
    try:
        convolution = ColumnConvolution(weight, None, (1, 1))
        found = convolution(features), convolution(features, -expected, activated=True)
    except (AttributeError, RuntimeError):
        return False
    return torch.equal(found[0], expected) and not found[1].any()


def columns_gain(weight: Tensor) -> bool:
    """Whether a kernel ``(O, C, H, W)`` is one that this is faster for, on small features and this processor."""
    return weight.dtype == torch.bfloat16 and weight[0, 0].numel() > 1 and multiplies_tiles()


class ColumnConvolution(nn.Module):
    """A convolution by fixed weights, as one product of matrices where its outputs are few in a row.

    What is not bf16, or wider, is convolved directly. That depends on the shape alone.

    Args:
        weight: ``(O, C, H, W)``.
        bias: ``(O,)``.
        padding: Rows and columns of zeros on each side.
        stride: Along rows and columns.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...], stride: tuple[int, ...] = (1, 1)
    ) -> None:
        super().__init__()
        self.direct = PackedConvolution(weight, bias, padding, stride)
        self._packed = PackedWeight()

    def forward(self, features: Tensor, summand: Tensor | None = None, *, activated: bool = False) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``, channels-last; as :meth:`PackedConvolution.forward`."""
        outputs = self._outputs_of(features)
        if features.dtype != torch.bfloat16 or not _are_few(outputs):
            directly: Tensor = self.direct(features, summand, activated=activated)
            return directly
        rows = self._rows(features, outputs)
        weight = self._packed.get(len(rows), lambda: torch.ops.mkldnn._reorder_linear_weight(self._matrix(), len(rows)))
        multiply, bias = torch.ops.mkldnn._linear_pointwise, self.direct.bias
        if summand is None:
            product = multiply(rows, weight, bias, *(ALMOST_RELU if activated else ("none", [], "")))
        else:
            added = summand.permute(0, 2, 3, 1).reshape(len(rows), -1)
            product = finish(multiply.binary(rows, added, weight, bias, "add"), None, activated=activated)
        by_pixels: Tensor = product.view(len(features), *outputs, -1)
        return by_pixels.permute(0, 3, 1, 2)

    def _outputs_of(self, features: Tensor) -> tuple[int, int]:
        direct = self.direct
        height, width = (
            (side + 2 * zeros - size) // step + 1
            for side, zeros, size, step in zip(
                features.shape[2:], direct.padding, direct.weight.shape[2:], direct.stride, strict=True
            )
        )
        return height, width

    def _rows(self, features: Tensor, outputs: tuple[int, int]) -> Tensor:
        """What the kernel sees at each of all images' outputs: ``(N H' W', K K C)``."""
        last = features.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        (below, beside), (down, right) = self.direct.padding, self.direct.stride
        padded = functional.pad(last, (0, 0, beside, beside, below, below))
        image, row, column, _ = padded.stride()
        height, width = self.direct.weight.shape[2:]
        # The pixels of one row of the kernel lie behind each other.
        seen = padded.as_strided(
            (len(padded), *outputs, height, width * padded.shape[-1]), (image, down * row, right * column, row, 1)
        )
        return seen.reshape(-1, self.direct.weight[0].numel())

    def _matrix(self) -> Tensor:
        return self.direct.weight.permute(0, 2, 3, 1).reshape(len(self.direct.weight), -1)


class ColumnTransposedConvolution(nn.Module):
    """The gradient of a strided convolution with respect to its input, in the same way.

    Args:
        weight: ``(O, C, K, K)`` of the convolution.
        padding: Of the convolution, on each side.
        stride: Of the convolution.
    """

    def __init__(self, weight: Tensor, padding: int, stride: int) -> None:
        super().__init__()
        self.direct = PackedTransposedConvolution(weight, (padding, padding), (stride, stride))
        self.by_blocks = BlockGradient(weight, padding, stride, side=stride, kind=ColumnConvolution)

    def forward(self, gradient: Tensor, sides: tuple[int, ...]) -> Tensor:
        """Map a gradient ``(N, O, H', W')`` to that of the input ``(N, C, H, W)``, whose ``sides`` are H and W."""
        gains = gradient.dtype == torch.bfloat16 and _are_few(gradient.shape[2:])
        result: Tensor = self.by_blocks(gradient, sides) if gains else self.direct(gradient, sides)
        return result


def _are_few(outputs: tuple[int, ...]) -> bool:
    return outputs[-1] <= MOST_OUTPUTS_IN_A_ROW
