# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolutions whose weights never change, faster forward and backward on a CPU.

Perturbing asks for the gradient of pixels alone, and for the same weights hundreds of times. So what depends on the
weights only - the order in memory that the processor's convolution wants, the mirrored weights of the backward pass -
is made once instead of in every step. All of it gives what :class:`torch.nn.Conv2d` gives, up to rounding.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_CHANNELS_FOR_BLOCKS = 16
"""A strided first convolution is rewritten on blocks of pixels where a block has at most so many values."""

FEWEST_PACKED_WEIGHTS = 100_000
"""Below this size of a kernel, reordering its weights costs less than what it takes to remember them."""


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
    if gains_by_blocks(module):
        return BlockConvolution(module)
    if can_be_frozen(module) and module.stride == (1, 1) and module.weight.numel() >= FEWEST_PACKED_WEIGHTS:
        return FrozenConvolution(module)
    return None


def can_be_frozen(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether :class:`FrozenConvolution` computes what this module does, on this processor."""
    return _is_plain(module) and not gains_by_blocks(module) and packing_works()


def gains_by_blocks(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a module is a strided convolution that :class:`BlockConvolution` computes faster."""
    if not _is_plain(module):
        return False
    size, stride, padding = module.kernel_size, module.stride, module.padding
    square = len(set(size)) == len(set(stride)) == len(set(padding)) == 1
    few = module.in_channels * stride[0] ** 2 <= MOST_CHANNELS_FOR_BLOCKS
    return stride[0] > 1 and square and few and size[0] > 2 * stride[0]


def _is_plain(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        type(module) is nn.Conv2d
        and not (module._forward_hooks or module._forward_pre_hooks)
        and (module.groups, module.dilation, module.padding_mode) == (1, (1, 1), "zeros")
        and not isinstance(module.padding, str)
        and module.weight.device.type == "cpu"
    )


@cache
def packing_works() -> bool:
    """Whether this build of torch has oneDNN's convolution on packed weights, and it computes a convolution."""
    features, weight = torch.ones(1, 16, 4, 4), torch.ones(16, 16, 3, 3)
    packed = PackedConvolution(weight, None, (1, 1))
    plain = functional.conv2d(features, weight, padding=1)
    try:
        return torch.equal(packed(features), plain) and torch.equal(packed(features, -plain - 1, relu=True), 0 * plain)
    except (AttributeError, RuntimeError):
        return False


class FrozenConvolution(nn.Module):
    """A convolution by fixed weights whose gradient goes to its inputs alone; and what often follows it, in one go.

    Args:
        convolution: See :func:`can_be_frozen`.
        relu: Set what is negative to zero at the end.
    """

    def __init__(self, convolution: nn.Conv2d, *, relu: bool = False) -> None:
        super().__init__()
        weight, padding = convolution.weight.detach(), tuple(int(each) for each in convolution.padding)
        stride = (convolution.stride[0], convolution.stride[1])
        self.relu = relu
        self.ahead = PackedConvolution(weight, convolution.bias, padding, stride)
        self.back: PackedConvolution | None = None
        room = tuple(size - 1 - each for size, each in zip(weight.shape[2:], padding, strict=True))
        if stride == (1, 1) and min(room) >= 0:
            # The gradient of a convolution is the convolution of the gradient with the mirrored weights.
            self.back = PackedConvolution(weight.transpose(0, 1).flip(2, 3), None, room)

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``; ``added`` is added before the ReLU."""
        fits = added is None or (added.shape, added.dtype) == (self.ahead.shape_of(features), features.dtype)
        result: Tensor
        if added is not None and not fits:
            result = self._convolve(features, None, relu=False) + added
            return result.relu() if self.relu else result
        return self._convolve(features, added, relu=self.relu)

    def _convolve(self, features: Tensor, added: Tensor | None, *, relu: bool) -> Tensor:
        result: Tensor = _InputGradientOnly.apply(features, added, self, relu)  # type: ignore[no-untyped-call]
        return result

    def gradient(self, features: Tensor, gradient: Tensor) -> Tensor:
        """Gradient with respect to ``features``, from that with respect to the convolution's result."""
        if self.back is not None:
            result: Tensor = self.back(gradient)
            return result
        stride, padding, weight = self.ahead.stride, self.ahead.padding, self.ahead.weight
        found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
            gradient, features, weight, None, stride, padding, (1, 1), False, (0, 0), 1, (True, False, False)
        )
        return found[0]


class _InputGradientOnly(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, features: Tensor, added: Tensor | None, convolution: FrozenConvolution, relu: bool
    ) -> Tensor:
        result: Tensor = convolution.ahead(features, added, relu=relu)
        context.convolution, context.adds = convolution, added is not None
        context.save_for_backward(features, result if relu else None)
        return result

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        (gradient,) = gradients
        features, result = context.saved_tensors
        if result is not None:
            gradient = torch.ops.aten.threshold_backward(gradient, result, 0)
        return context.convolution.gradient(features, gradient), gradient if context.adds else None, None, None


class PackedConvolution(nn.Module):
    """A convolution that keeps its weights in the order in memory that oneDNN wants for an input's shape.

    torch reorders the weights in every call otherwise, which for few small images costs a tenth of the time. The order
    depends on the shape alone, so what was computed before never changes a result.
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
        self._packed: tuple[object, Tensor] | None = None

    def forward(self, features: Tensor, added: Tensor | None = None, *, relu: bool = False) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``; nothing is recorded for a gradient."""
        if features.device.type != "cpu":
            plain = functional.conv2d(features, self.weight, self.bias, self.stride, self.padding)
            plain = plain if added is None else plain + added
            return plain.relu() if relu else plain
        features = features.contiguous(memory_format=torch.channels_last)
        form = (self.padding, self.stride, (1, 1), 1)
        wanted = (features.shape, features.dtype)
        packed = self._packed
        if packed is None or packed[0] != wanted:
            weight = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *form, list(features.shape))
            packed = self._packed = (wanted, weight)
        convolve, end = torch.ops.mkldnn._convolution_pointwise, "relu" if relu else "none"
        result: Tensor
        if added is None:
            result = convolve(features, packed[1], self.bias, *form, end, [], "")
        else:
            added = added.contiguous(memory_format=torch.channels_last)
            last = "relu" if relu else None
            result = convolve.binary(features, added, packed[1], self.bias, *form, "add", 1.0, last, [], "")
        return result

    def shape_of(self, features: Tensor) -> torch.Size:
        """Shape of the result."""
        sides = zip(features.shape[2:], self.weight.shape[2:], self.padding, self.stride, strict=True)
        positions = [(side + 2 * padding - size) // stride + 1 for side, size, padding, stride in sides]
        return torch.Size([len(features), len(self.weight), *positions])

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
