# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""3x3 convolutions by fixed weights in a quarter of the multiplications: Winograd's F(4x4, 3x3).

A filter of three taps on six inputs is a product of polynomials, known from its values at six points: four outputs
take six multiplications instead of twelve, and a tile of 4x4 outputs 36 instead of 144 (Lavin and Gray 2016, "Fast
Algorithms for Convolutional Neural Networks", CVPR, section 4). The weights' values at the points are computed once, as
the weights never change; the tiles are worked on in parts that stay in the processor's cache.

The result is the convolution's up to rounding, of which there is some eight times as much as in the direct sum: less
than 1e-4 of the output's standard deviation in float32. bf16 has too few digits for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

TILE = 4
"""Outputs of one tile along a side."""

SIDE = TILE + 2
"""Inputs of one tile along a side, as many as there are points: 0, 1, -1, 2, -2 and infinity."""

POINTS = SIDE**2

TILES_AT_A_TIME = 128
"""So many tiles, or the next fewer that divide the work evenly, are transformed, multiplied and transformed back."""

_OF_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_OF_WEIGHT = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OF_OUTPUT = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
_CONSTANT = SIDE + 1
"""The point (1, 1): what is added there is added to every output of the tile."""


class WinogradConvolution(nn.Module):
    """A 3x3 convolution of stride 1 by fixed weights, fast for float32 on a CPU; nothing is recorded for a gradient.

    Args:
        weight: ``(O, C, 3, 3)``, float32.
        bias: ``(O,)``.
        padding: Rows and columns of zeros on each side.
    """

    weight: Tensor
    bias: Tensor | None
    of_input: Tensor
    of_output: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("weight", weight.contiguous())
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.register_buffer("of_input", _on_tiles(_OF_INPUT).float(), persistent=False)
        self.register_buffer("of_output", _on_tiles(_OF_OUTPUT).float(), persistent=False)
        self.padding = padding
        self._packed: tuple[int, Tensor, Tensor | None] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``, channels-last."""
        count, channels, *sides = features.shape
        height, width = (side + 2 * pad - 2 for side, pad in zip(sides, self.padding, strict=True))
        fits = channels == self.weight.shape[1] and min(height, width) > 0
        if features.device.type != "cpu" or features.dtype != torch.float32 or not fits:
            return functional.conv2d(features, self.weight, self.bias, padding=self.padding)
        rows, columns = -(-height // TILE), -(-width // TILE)
        padded = self._pad(features, rows, columns)
        images, bands = _parts(count, rows, columns)
        weight, bias = self._pack(images * bands * columns)
        output = features.new_empty(count, rows, TILE, columns, TILE, len(self.weight))
        image, row, column, _ = padded.stride()
        strides = (image, TILE * row, TILE * column, row, column, 1)
        for first in range(0, count, images):
            for top in range(0, rows, bands):
                part = padded[first : first + images, TILE * top :]
                tiles = part.as_strided((images, bands, columns, SIDE, SIDE, channels), strides)
                found = self._convolve(tiles.reshape(-1, POINTS, channels), weight, bias)
                found = found.view(images, bands, columns, TILE, TILE, -1).transpose(2, 3)
                output[first : first + images, top : top + bands] = found
        whole = output.view(count, rows * TILE, columns * TILE, -1)
        return whole[:, :height, :width].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def _pad(self, features: Tensor, rows: int, columns: int) -> Tensor:
        """``(N, H, W, C)`` with zeros on each side, and below and right as many more as whole tiles need."""
        last = features.permute(0, 2, 3, 1)
        (top, left), (height, width) = self.padding, last.shape[1:3]
        below, right = rows * TILE + 2 - height - top, columns * TILE + 2 - width - left
        return functional.pad(last, (0, 0, left, right, top, below)).contiguous()

    def _convolve(self, tiles: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Map tiles ``(T, 36, C)`` to outputs ``(T, 16, O)``: one product of matrices for each of the 36 points."""
        count, points, channels = tiles.shape
        values = torch.bmm(self.of_input.expand(count, -1, -1), tiles)
        columns = values.view(1, count, 1, points * channels).permute(0, 3, 1, 2)
        products = torch.ops.mkldnn._convolution_pointwise(
            columns, weight, bias, (0, 0), (1, 1), (1, 1), points, "none", [], ""
        )
        products = products.permute(0, 2, 3, 1).reshape(count, points, -1)
        return torch.bmm(self.of_output.expand(count, -1, -1), products)

    def _pack(self, tiles: int) -> tuple[Tensor, Tensor | None]:
        """The weights' values at the 36 points, in the order in memory that oneDNN wants for so many tiles."""
        kept = self._packed  # Once: another thread may replace it in between.
        if kept is None or kept[0] != tiles:
            channels = self.weight.shape[1]
            values = torch.einsum("pk,ock->poc", _on_tiles(_OF_WEIGHT), self.weight.double().flatten(2))
            stacked = values.reshape(-1, channels, 1, 1).float().contiguous(memory_format=torch.channels_last)
            shape = [1, POINTS * channels, tiles, 1]
            packed = torch.ops.mkldnn._reorder_convolution_weight(stacked, (0, 0), (1, 1), (1, 1), POINTS, shape)
            bias = None
            if self.bias is not None:
                bias = functional.pad(self.bias[None], (0, 0, _CONSTANT, POINTS - 1 - _CONSTANT)).flatten()
            kept = self._packed = (tiles, packed, bias)
        return kept[1:]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # Made again where it is needed; it can be neither copied nor sent.


def _on_tiles(transform: tuple[tuple[float, ...], ...]) -> Tensor:
    """The transform along rows and columns, as one matrix in float64 on the flattened tile."""
    along = torch.tensor(transform, dtype=torch.float64)
    return torch.kron(along, along)


def _parts(images: int, rows: int, columns: int) -> tuple[int, int]:
    """Images, and rows of tiles, that are worked on together: all parts are of one size."""
    if rows * columns > TILES_AT_A_TIME:
        return 1, _largest_divisor(rows, TILES_AT_A_TIME // columns)
    return _largest_divisor(images, TILES_AT_A_TIME // (rows * columns)), rows


def _largest_divisor(number: int, limit: int) -> int:
    return next((each for each in range(min(number, limit), 0, -1) if number % each == 0), 1)
