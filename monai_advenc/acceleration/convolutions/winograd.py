# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""3x3 convolutions with fixed weights in a quarter of the multiplications: Winograd's F(4x4, 3x3).

A filter of three taps on six inputs is a product of polynomials, known from its values at six points: four outputs
take six multiplications instead of twelve, and a tile of 4x4 outputs 36 instead of 144 (Lavin and Gray 2016, "Fast
Algorithms for Convolutional Neural Networks", CVPR, section 4). The weights' values at the points are computed once,
because the weights never change. The tiles are processed in parts that fit the processor's cache.

The rounding error is about ten times that of the direct sum, relative to the largest input of a tile. On features of
real networks it is about 1e-4 of an output's standard deviation; bf16 has too few digits for it. A kernel over zeros
gives exactly zero, because PGD would follow a gradient of pure rounding as a direction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration.convolutions.packed import PackedConvolution, PackedWeight, finish

FEWEST_CHANNELS = 64
"""With fewer input or output channels, the transforms cost more than they save."""

MANY_WEIGHTS = 100_000
"""With this many weights the size of the features does not matter; 64 to 64 channels have fewer."""

FEWEST_OUTPUTS = 1_000
"""With fewer weights it gains if an image has this many outputs (about 32x32), and loses on smaller features."""

FEWEST_TILES = 8
"""With fewer tiles, reading four times as many weights costs more than it saves."""

FEWEST_OUTPUTS_OF_A_TILE = 10
"""If fewer of a tile's 16 outputs are needed on average, as for features of 5x5, the direct sum is as fast."""

TILE = 4
"""Outputs of one tile along a side."""

SIDE = TILE + 2
"""Inputs of one tile along a side, as many as there are points: 0, 1, -1, 2, -2 and infinity."""

POINTS = SIDE**2

TILES_AT_A_TIME = 128
"""Largest number of tiles that are processed together, unless one row has more."""

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
"""The point (1, 1): a bias added there is added to every output of the tile."""


def winograd_gains(weight: Tensor) -> bool:
    """Whether Winograd's method is faster for a kernel ``(O, C, H, W)`` on this processor."""
    vectors = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    return (
        vectors
        and weight.dtype == torch.float32
        and weight.shape[2:] == (3, 3)
        and min(weight.shape[:2]) >= FEWEST_CHANNELS
    )


class WinogradConvolution(nn.Module):
    """3x3 convolution of stride 1 with fixed weights, without autograd.

    Features that are not float32, or have too few tiles to gain, are convolved directly; this depends on the shape
    only. The weights' values at the points, four times as many numbers, are kept in addition to the weights.

    Args:
        weight: ``(O, C, 3, 3)``, float32.
        bias: ``(O,)``.
        padding: Rows and columns of zeros on each side.
    """

    of_input: Tensor
    of_output: Tensor
    at_points: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]) -> None:
        super().__init__()
        self.direct = PackedConvolution(weight, bias, padding)
        self.register_buffer("of_input", _on_tiles(_OF_INPUT), persistent=False)
        self.register_buffer("of_output", _on_tiles(_OF_OUTPUT), persistent=False)
        if bias is not None:
            bias = functional.pad(bias.detach()[None], (0, 0, _CONSTANT, POINTS - 1 - _CONSTANT)).flatten()
        self.register_buffer("at_points", bias, persistent=False)
        self.padding = padding
        self._packed = PackedWeight()

    @torch.no_grad()
    def forward(self, features: Tensor, summand: Tensor | None = None, *, activated: bool = False) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``, channels-last; as :meth:`PackedConvolution.forward`."""
        height, width = (side + 2 * pad - 2 for side, pad in zip(features.shape[2:], self.padding, strict=True))
        if features.dtype != torch.float32 or not self._gains_on(len(features), height, width):
            directly: Tensor = self.direct(features, summand, activated=activated)
            return directly
        rows, columns = -(-height // TILE), -(-width // TILE)
        padded = self._pad(features, rows, columns)
        with torch.autocast("cpu", enabled=False):
            output = self._by_tiles(padded, rows, columns)
        if self.direct.bias is None:
            _restore_zeros(output, padded)
        if (height, width) != output.shape[2:]:
            output = output[:, :, :height, :width].clone(memory_format=torch.channels_last)
        return finish(output, summand, activated=activated)

    def _gains_on(self, count: int, height: int, width: int) -> bool:
        """Whether there are enough outputs; the same for all images of a shape."""
        if self.direct.weight.numel() < MANY_WEIGHTS and height * width < FEWEST_OUTPUTS:
            return False
        tiles = count * -(-height // TILE) * -(-width // TILE)
        return tiles >= FEWEST_TILES and count * height * width >= FEWEST_OUTPUTS_OF_A_TILE * tiles

    def _by_tiles(self, padded: Tensor, rows: int, columns: int) -> Tensor:
        """Map ``(N, 4 rows + 2, 4 columns + 2, C)`` to ``(N, O, 4 rows, 4 columns)``, channels-last and no view."""
        count, channels = len(padded), padded.shape[-1]
        images, bands = _parts(count, rows, columns)
        tiles = images * bands * columns
        weight = self._packed.get(tiles, lambda: self._values_at_points(tiles))
        shape = (count, len(self.direct.weight), rows * TILE, columns * TILE)
        output = torch.empty(shape, dtype=padded.dtype, memory_format=torch.channels_last)
        by_tiles = output.permute(0, 2, 3, 1).view(count, rows, TILE, columns, TILE, -1)
        image, row, column, _ = padded.stride()
        strides = (image, TILE * row, TILE * column, row, column, 1)
        for first in range(0, count, images):
            for top in range(0, rows, bands):
                part = padded[first : first + images, TILE * top :]
                seen = part.as_strided((images, bands, columns, SIDE, SIDE, channels), strides)
                found = self._convolve(seen.reshape(-1, POINTS, channels), weight)
                found = found.view(images, bands, columns, TILE, TILE, -1).transpose(2, 3)
                by_tiles[first : first + images, top : top + bands] = found
        return output

    def _pad(self, features: Tensor, rows: int, columns: int) -> Tensor:
        """Pad ``(N, H, W, C)`` with zeros on each side, and below and right up to whole tiles."""
        last = features.permute(0, 2, 3, 1)
        (top, left), (height, width) = self.padding, last.shape[1:3]
        below, right = rows * TILE + 2 - height - top, columns * TILE + 2 - width - left
        return functional.pad(last, (0, 0, left, right, top, below)).contiguous()

    def _convolve(self, tiles: Tensor, weight: Tensor) -> Tensor:
        """Map tiles ``(T, 36, C)`` to outputs ``(T, 16, O)``: one matrix product for each of the 36 points."""
        count, points, channels = tiles.shape
        values = torch.bmm(self.of_input.expand(count, -1, -1), tiles)
        columns = values.view(1, count, 1, points * channels).permute(0, 3, 1, 2)
        products = torch.ops.mkldnn._convolution_pointwise(
            columns, weight, self.at_points, (0, 0), (1, 1), (1, 1), points, "none", [], ""
        )
        products = products.permute(0, 2, 3, 1).reshape(count, points, -1)
        return torch.bmm(self.of_output.expand(count, -1, -1), products)

    def _values_at_points(self, tiles: int) -> Tensor:
        """The weights' values at the 36 points, in oneDNN's memory layout for this many tiles."""
        weight = self.direct.weight
        channels = weight.shape[1]
        taps = weight.permute(2, 3, 0, 1).reshape(9, -1)
        values = (_on_tiles(_OF_WEIGHT) @ taps).view(-1, channels, 1, 1).contiguous(memory_format=torch.channels_last)
        shape = [1, POINTS * channels, tiles, 1]
        packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(values, (0, 0), (1, 1), (1, 1), POINTS, shape)
        return packed


def _on_tiles(transform: tuple[tuple[float, ...], ...]) -> Tensor:
    """Combine the transforms along rows and columns into one matrix on the flattened tile."""
    along = torch.tensor(transform, dtype=torch.float64)
    return torch.kron(along, along).float()


def _restore_zeros(output: Tensor, padded: Tensor) -> None:
    """Set outputs ``(N, O, H, W)`` to zero, in place, if their 3x3 inputs in ``(N, H + 2, W + 2, C)`` are all zero."""
    lowest, highest = padded.amin(dim=-1), padded.amax(dim=-1)
    values = ((lowest != 0) | (highest != 0)).float()
    seen = functional.max_pool2d(values[:, None], kernel_size=3, stride=1) > 0
    if not seen.all():
        output.masked_fill_(~seen, 0)


def _parts(images: int, rows: int, columns: int) -> tuple[int, int]:
    """Numbers of images and of rows of tiles in one part; all parts have the same size."""
    if rows * columns > TILES_AT_A_TIME:
        return 1, _largest_divisor(rows, TILES_AT_A_TIME // columns)
    return _largest_divisor(images, TILES_AT_A_TIME // (rows * columns)), rows


def _largest_divisor(number: int, limit: int) -> int:
    return next((each for each in range(min(number, limit), 0, -1) if number % each == 0), 1)
