# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolutions whose weights never change, faster forward and backward on a CPU.

Perturbing asks for the gradient of pixels alone, and for the same weights hundreds of times. So what depends on the
weights only - the order in memory that the processor's convolution wants, the mirrored weights of the backward pass,
their transforms where Winograd's way is faster - is made once instead of in every step. All of it gives what
:class:`torch.nn.Conv2d` gives, up to rounding.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from monai_advenc.winograd_convolution import WinogradConvolution

MOST_CHANNELS_FOR_BLOCKS = 16
"""A strided first convolution is rewritten on blocks of pixels where a block has at most so many values."""

FEWEST_PACKED_WEIGHTS = 100_000
"""Below this size of a kernel (105 channels, if it is 3x3), neither ordered weights nor Winograd's tiles gain time."""


def freeze_convolutions(network: nn.Module) -> nn.Module:
    """Replace, in place, the convolutions on a CPU that are faster when their weights are known to stay.

    Args:
        network: In evaluation mode, in its final data type and memory format. Convolutions that are dilated, grouped,
            parametrized, padded by other than zeros or watched by hooks stay as they are.
    """
    for name, module in list(network.named_modules()):
        replacement = _replacement_of(module) if name else None
        if replacement is not None:
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, replacement)
    return network


def _replacement_of(module: nn.Module) -> nn.Module | None:
    if type(module) is not nn.Conv2d or module._forward_hooks or module._forward_pre_hooks:
        return None
    size, stride, padding = module.kernel_size, module.stride, module.padding
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    if not plain or isinstance(padding, str) or module.weight.device.type != "cpu":
        return None
    if stride == (1, 1):
        fits = padding[0] < size[0] and padding[1] < size[1] and module.weight.numel() >= FEWEST_PACKED_WEIGHTS
        return FrozenConvolution(module) if fits and packing_works() else None
    square = len(set(size)) == len(set(stride)) == len(set(padding)) == 1
    few = module.in_channels * stride[0] ** 2 <= MOST_CHANNELS_FOR_BLOCKS
    return BlockConvolution(module) if square and few and size[0] > 2 * stride[0] else None


@cache
def packing_works() -> bool:
    """Whether this build of torch has oneDNN's convolution on packed weights, and it computes a convolution."""
    features, weight = torch.ones(1, 16, 4, 4), torch.ones(16, 16, 3, 3)
    try:
        packed = PackedConvolution(weight, None, (1, 1))(features)
    except (AttributeError, RuntimeError):
        return False
    return torch.equal(packed, functional.conv2d(features, weight, padding=1))


class FrozenConvolution(nn.Module):
    """A convolution of stride 1 by fixed weights, whose gradient goes to the input alone.

    A 3x3 kernel in float32 is computed Winograd's way, forward and backward.

    Args:
        convolution: With fewer rows and columns of padding than its kernel has.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight, padding = convolution.weight.detach(), tuple(int(each) for each in convolution.padding)
        # The gradient of a convolution is the convolution of the gradient with the mirrored weights.
        mirrored = weight.transpose(0, 1).flip(2, 3)
        back = tuple(size - 1 - each for size, each in zip(weight.shape[2:], padding, strict=True))
        winograd = weight.shape[2:] == (3, 3) and weight.dtype == torch.float32
        kind = WinogradConvolution if winograd else PackedConvolution
        self.ahead = kind(weight, convolution.bias, padding)
        self.back = kind(mirrored, None, back)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``."""
        result: Tensor = _InputGradientOnly.apply(features, self.ahead, self.back)  # type: ignore[no-untyped-call]
        return result


class _InputGradientOnly(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: Tensor, ahead: nn.Module, back: nn.Module) -> Tensor:
        context.back = back
        result: Tensor = ahead(features)
        return result

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return context.back(gradients[0]), None, None


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


class BlockConvolution(nn.Module):
    """A strided convolution of an image with few channels, as one of stride 1 over blocks of ``stride`` x ``stride``.

    The usual first layer (7x7, stride 2, one or three channels) leaves most of a processor's lanes empty: on one
    channel it takes a quarter of ResNet-18's time in bf16. With the pixels of a block as channels, a third of that.

    Args:
        convolution: With a square kernel larger than its stride.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.stride, self.padding = convolution.stride[0], int(convolution.padding[0])
        self.size = convolution.kernel_size[0]
        self.before = self.stride * -(-self.padding // self.stride)
        shift = self.before - self.padding
        self.blocks = -(-(shift + self.size) // self.stride)
        after = self.blocks * self.stride - shift - self.size
        weight = functional.pad(convolution.weight.detach(), (shift, after, shift, after))
        weight = functional.pixel_unshuffle(weight, self.stride)
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", None if convolution.bias is None else convolution.bias.detach())

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``."""
        height, width = (self._after(side) for side in images.shape[2:])
        padded = functional.pad(images.contiguous(), (self.before, width, self.before, height))
        blocks = functional.pixel_unshuffle(padded, self.stride).contiguous(memory_format=torch.channels_last)
        return functional.conv2d(blocks, self.weight, self.bias)

    def _after(self, side: int) -> int:
        """Zeros below or right of the image (negative: pixels that no kernel reaches), so that whole blocks remain."""
        positions = (side + 2 * self.padding - self.size) // self.stride + 1
        return self.stride * (positions + self.blocks - 1) - self.before - side
