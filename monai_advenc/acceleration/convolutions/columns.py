# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compute convolutions of small features as matrix products (im2col), for CPUs with AMX.

AMX multiplies 16 rows of a matrix at a time. oneDNN's convolution fills them with horizontally adjacent outputs, so
that with 4x4 outputs, as in the last stage of a ResNet on CIFAR-10, three quarters of the rows stay empty. Im2col
writes the input of each output as one row of a matrix, so that the outputs of all images are rows of one product. With
wider outputs or fewer channels, the copying costs more than it gains.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration.convolutions.blocks import BlockGradient
from monai_advenc.acceleration.convolutions.packed import PackedConvolution, PackedTransposedConvolution, outputs_of
from monai_advenc.acceleration.processor import multiplies_tiles

MOST_OUTPUTS_IN_A_ROW = 6
"""Widest outputs for columns. With 512 channels, width 5 takes two thirds of a convolution's time, 6 four fifths, 7 as
much."""

FEWEST_WEIGHTS = 1_000_000
"""Fewest weights for columns. A 3x3 kernel of 512 channels has twice as many, and gains; 256 to 256 channels are no
faster, fewer are slower."""

FEWEST_LINES = 8
"""Fewest rows of outputs in all images together: oneDNN's convolution uses an AMX tile for each row, even a short one.
With 8 rows (four images of 2x2 outputs, two of 4x4), columns take 0.5 to 0.9 of its time; with 4 they gain nothing."""

FEWEST_LINES_TRANSPOSED = 16
"""The same for a strided convolution's gradient: with 16 rows, columns take 0.7 to 1.0 of the time, with 8 mostly
more."""


def columns_gain(weight: Tensor) -> bool:
    """Whether columns are faster for a kernel ``(O, C, H, W)``, on small features and this processor."""
    large = weight.numel() >= FEWEST_WEIGHTS and weight[0, 0].numel() > 1
    return large and weight.dtype == torch.bfloat16 and multiplies_tiles()


class ColumnConvolution(nn.Module):
    """Convolution with fixed weights, as one matrix product if its outputs are narrow.

    Features that are not bf16, or too wide, are convolved directly; this depends on the shape only. The product is
    oneDNN's 1x1 convolution, because torch's matrix product of few rows depends on the number of threads.

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
        matrix = self.direct.weight.permute(0, 2, 3, 1).reshape(len(weight), -1, 1, 1)
        self.of_rows = PackedConvolution(matrix, bias, (0, 0))

    def forward(self, features: Tensor, summand: Tensor | None = None, *, activated: bool = False) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``, channels-last; as :meth:`PackedConvolution.forward`."""
        direct = self.direct
        outputs = outputs_of(features.shape[2:], direct.weight.shape[2:], direct.padding, direct.stride)
        fits = features.shape[1] == direct.weight.shape[1] and min(outputs) > 0
        if not fits or features.dtype != torch.bfloat16 or not _gains_on(len(features), outputs, FEWEST_LINES):
            directly: Tensor = direct(features, summand, activated=activated)
            return directly
        rows = _as_one_line(self._rows(features, outputs))
        added = None
        if summand is not None:
            added = _as_one_line(summand.permute(0, 2, 3, 1).reshape(rows.shape[-1], -1))
        product = self.of_rows(rows, added, activated=activated).permute(0, 2, 3, 1)
        by_pixels: Tensor = product.reshape(len(features), *outputs, -1)
        return by_pixels.permute(0, 3, 1, 2)

    def _rows(self, features: Tensor, outputs: tuple[int, ...]) -> Tensor:
        """The kernel's input for each output of all images: ``(N H' W', K K C)``."""
        last = features.permute(0, 2, 3, 1)
        (below, beside), (down, right) = self.direct.padding, self.direct.stride
        # If a side is 1, padding may leave the pixels in another memory order.
        padded = functional.pad(last, (0, 0, beside, beside, below, below)).contiguous()
        image, row, column, _ = padded.stride()
        height, width = self.direct.weight.shape[2:]
        # The pixels of one kernel row are contiguous.
        seen = padded.as_strided(
            (len(padded), *outputs, height, width * padded.shape[-1]), (image, down * row, right * column, row, 1)
        )
        return seen.reshape(-1, self.direct.weight[0].numel())


class ColumnTransposedConvolution(nn.Module):
    """Gradient of a strided convolution with respect to its input, as one matrix product.

    Args:
        weight: ``(O, C, K, K)`` of the convolution.
        padding: Padding of the convolution on each side.
        stride: Stride of the convolution.
    """

    def __init__(self, weight: Tensor, padding: int, stride: int) -> None:
        super().__init__()
        self.direct = PackedTransposedConvolution(weight, (padding, padding), (stride, stride))
        self.by_blocks = BlockGradient(weight, padding, stride, side=stride, kind=ColumnConvolution)

    def forward(self, gradient: Tensor, sides: tuple[int, ...]) -> Tensor:
        """Map a gradient ``(N, O, H', W')`` to that of the input ``(N, C, H, W)``, whose ``sides`` are H and W."""
        gains = _gains_on(len(gradient), gradient.shape[2:], FEWEST_LINES_TRANSPOSED)
        gains &= gradient.dtype == torch.bfloat16
        result: Tensor = self.by_blocks(gradient, sides) if gains else self.direct(gradient, sides)
        return result


def _gains_on(count: int, outputs: tuple[int, ...], fewest_lines: int) -> bool:
    """Whether the outputs are narrow enough and their rows many enough; the same for all batches of a shape."""
    return outputs[-1] <= MOST_OUTPUTS_IN_A_ROW and count * outputs[0] >= fewest_lines


def _as_one_line(rows: Tensor) -> Tensor:
    """View rows ``(M, C)`` as one row of pixels, ``(1, C, 1, M)``, channels-last."""
    return rows.t()[None, :, None, :]
