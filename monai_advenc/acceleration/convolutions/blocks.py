# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolve images with few channels in blocks of pixels, which fill the processor's vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration.convolutions.packed import PackedConvolution

CHANNELS_OF_A_BLOCK = 16
"""Number of float32 values in an AVX512 vector; convolutions in bf16 also process this many at a time."""


def block_length(channels: int, stride: int) -> int:
    """Side of the largest block, a multiple of the stride, whose values fit into a vector; 0: no block fits."""
    fitting = range(stride, CHANNELS_OF_A_BLOCK + 1, stride)
    return max((side for side in fitting if channels * side**2 <= CHANNELS_OF_A_BLOCK), default=0)


class BlockConvolution(nn.Module):
    """Strided convolution of an image with few channels, as one of stride 1 over blocks of ``stride`` x ``stride``.

    The usual first layer (7x7, stride 2, one or three channels) leaves most vector lanes empty: with one channel it
    takes a quarter of ResNet-18's time in bf16. With the pixels of a block as channels it takes a third of that.

    Args:
        weight: ``(O, C, K, K)``.
        bias: ``(O,)``.
        padding: Zeros on each side.
        stride: Smaller than K, so that blocks overlap.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: int, stride: int) -> None:
        super().__init__()
        self.stride, self.padding, self.size = stride, padding, weight.shape[-1]
        self.before = stride * -(-padding // stride)
        shift = self.before - padding
        self.blocks = -(-(shift + self.size) // stride)
        after = self.blocks * stride - shift - self.size
        weight = functional.pixel_unshuffle(functional.pad(weight, (shift, after, shift, after)), stride)
        self.on_blocks = PackedConvolution(weight, bias, (0, 0))

    def forward(self, images: Tensor, summand: Tensor | None = None, *, activated: bool = False) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``; as :meth:`PackedConvolution.forward`."""
        height, width = (self._after(side) for side in images.shape[2:])
        padded = functional.pad(images.contiguous(), (self.before, width, self.before, height))
        blocks = functional.pixel_unshuffle(padded, self.stride)
        result: Tensor = self.on_blocks(blocks, summand, activated=activated)
        return result

    def _after(self, side: int) -> int:
        """Zeros below or right of the image that complete the last block (negative: pixels that no kernel reaches)."""
        positions = (side + 2 * self.padding - self.size) // self.stride + 1
        return self.stride * (positions + self.blocks - 1) - self.before - side


class BlockGradient(nn.Module):
    """Gradient of a convolution with respect to an image with few channels, all pixels of a block at once.

    The gradient of a block at ``side * P`` is a convolution, of stride ``side / stride``, of the output's gradient:
    pixel ``side * P + i`` was multiplied by tap ``t`` of the output at ``q`` where ``side * P + i = stride * q + t -
    padding``.

    Args:
        weight: ``(O, C, K, K)`` of the convolution.
        padding: Padding of the convolution on each side.
        stride: Stride of the convolution.
        side: Side of a block, a multiple of the stride; ``None``: the largest whose values fit into a vector.
        kind: Class of the convolution over blocks.
    """

    def __init__(
        self,
        weight: Tensor,
        padding: int,
        stride: int,
        *,
        side: int | None = None,
        kind: Callable[[Tensor, None, tuple[int, ...], tuple[int, ...]], nn.Module] = PackedConvolution,
    ) -> None:
        super().__init__()
        size = weight.shape[-1]
        self.side = side or block_length(weight.shape[1], stride)
        self.step = self.side // stride
        self.before = (size - 1 - padding) // stride
        self.reach = (self.side - 1 + padding) // stride + self.before + 1
        pixel, output, tap = torch.meshgrid(*map(torch.arange, (self.side, self.reach, size)), indexing="ij")
        meets = (pixel - stride * (output - self.before) + padding == tap).to(weight)
        on_blocks = torch.einsum("irk,jsl,ockl->cijors", meets, meets, weight)
        self.on_blocks = kind(on_blocks.flatten(0, 2), None, (0, 0), (self.step, self.step))

    def forward(self, gradient: Tensor, sides: tuple[int, ...]) -> Tensor:
        """Map a gradient ``(N, O, H', W')`` to that of the image ``(N, C, H, W)``, whose ``sides`` are H and W."""
        height, width = sides
        below, right = (self._after(*each) for each in zip(sides, gradient.shape[2:], strict=True))
        around = functional.pad(gradient, (self.before, right, self.before, below))
        return functional.pixel_shuffle(self.on_blocks(around), self.side)[:, :, :height, :width]

    def _after(self, side: int, outputs: int) -> int:
        """Zeros below or right of the outputs that complete all blocks (negative: outputs that are not needed)."""
        blocks = -(-side // self.side)
        return self.step * (blocks - 1) + self.reach - self.before - outputs
