# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Replace a network's convolutions by faster ones with fixed weights and a gradient for the input only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from monai_advenc.acceleration.convolutions.blocks import BlockConvolution, BlockGradient, block_length
from monai_advenc.acceleration.convolutions.columns import ColumnConvolution, ColumnTransposedConvolution, columns_gain
from monai_advenc.acceleration.convolutions.packed import (
    PackedConvolution,
    PackedTransposedConvolution,
    can_be_packed_for,
    outputs_of,
    packing_works,
)
from monai_advenc.acceleration.convolutions.winograd import WinogradConvolution, winograd_gains

FEWEST_PACKED_WEIGHTS = 30_000
"""Below this size of a kernel (57 channels, if it is 3x3), packed weights and Winograd's method gain little."""


def freeze_convolutions(network: nn.Module, fewest_weights: int = FEWEST_PACKED_WEIGHTS) -> nn.Module:
    """Replace, in place, the convolutions on a CPU that are faster with fixed weights.

    Args:
        network: In evaluation mode, in its final data type and memory format. Convolutions that are dilated, grouped,
            parametrized, padded by other than zeros, or have hooks stay as they are.
        fewest_weights: Smaller kernels stay too, except in a first layer.
    """
    if not packing_works():
        return network
    for name, module in list(network.named_modules()):
        if name and type(module) is nn.Conv2d and _can_be_frozen(module) and _gains(module, fewest_weights):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, FrozenConvolution(module))
    return network


def is_watched(module: nn.Module) -> bool:
    """Whether a module has hooks."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for kind in hooks)


def _can_be_frozen(module: nn.Conv2d) -> bool:
    size, padding = module.kernel_size, module.padding
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    if not plain or is_watched(module) or isinstance(padding, str) or module.weight.device.type != "cpu":
        return False
    return all(zeros < side for zeros, side in zip(padding, size, strict=True))


def _gains(module: nn.Conv2d, fewest_weights: int) -> bool:
    return module.weight.numel() >= fewest_weights or _reads_an_image(module)


def _reads_an_image(module: nn.Conv2d) -> bool:
    """Whether the channels are so few that blocks of pixels are faster, as in a first layer."""
    square = _is_square(module.kernel_size, module.stride, module.padding)
    return square and block_length(module.in_channels, module.stride[0]) > 1


def _is_square(*properties: Iterable[object]) -> bool:
    """Whether each property is the same along rows and columns."""
    return all(len(set(each)) == 1 for each in properties)


class FrozenConvolution(nn.Module):
    """Convolution with fixed weights and a gradient for the input only, with an optional sum and ReLU after it.

    It uses blocks of pixels if there are few channels, Winograd's method where that is faster, and packed weights
    otherwise.

    Args:
        convolution: The convolution, with less padding than its kernel size.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        # A network may read both attributes of its convolutions.
        self.register_buffer("weight", convolution.weight.detach())
        self.register_buffer("bias", None if convolution.bias is None else convolution.bias.detach())
        self.padding, self.stride = tuple(int(each) for each in convolution.padding), convolution.stride
        of_an_image = _reads_an_image(convolution)
        self.ahead = self._ahead(of_an_image)
        self.back = self._back(of_an_image)

    def _ahead(self, of_an_image: bool) -> nn.Module:
        stride = self.stride[0]
        if of_an_image and stride > 1 and self.weight.shape[-1] > 2 * stride:
            return BlockConvolution(self.weight, self.bias, self.padding[0], stride)
        if self.stride == (1, 1) and winograd_gains(self.weight):
            return WinogradConvolution(self.weight, self.bias, self.padding)
        kind = ColumnConvolution if columns_gain(self.weight) else PackedConvolution
        return kind(self.weight, self.bias, self.padding, self.stride)

    def _back(self, of_an_image: bool) -> nn.Module:
        if of_an_image:
            return BlockGradient(self.weight, self.padding[0], self.stride[0])
        if self.stride != (1, 1):
            return self._back_from_strides()
        # The gradient is the convolution of the output's gradient with the mirrored weights.
        mirrored = self.weight.transpose(0, 1).flip(2, 3)
        around = tuple(size - 1 - each for size, each in zip(self.weight.shape[2:], self.padding, strict=True))
        if winograd_gains(mirrored):
            return WinogradConvolution(mirrored, None, around)
        kind = ColumnConvolution if columns_gain(mirrored) else PackedConvolution
        return kind(mirrored, None, around)

    def _back_from_strides(self) -> nn.Module:
        if columns_gain(self.weight) and _is_square(self.weight.shape[2:], self.padding, self.stride):
            return ColumnTransposedConvolution(self.weight, self.padding[0], self.stride[0])
        return PackedTransposedConvolution(self.weight, self.padding, self.stride)

    def forward(
        self,
        input: Tensor,  # noqa: A002  # The name in torch.nn.Conv2d; a network may pass it by name.
        summand: Tensor | float | None = None,
        *,
        activated: bool = False,
    ) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``, then optionally add a tensor or a number and apply ReLU."""
        packs = can_be_packed_for(input, self.weight.shape[1], self.stride)
        inside = packs and (summand is None or self._gives_such(summand, input))
        if packs:
            kept = (summand, activated) if inside else (None, False)
            # torch does not annotate it.
            output: Tensor = _InputGradientOnly.apply(input, *kept, self)  # type: ignore[no-untyped-call]
        else:
            output = functional.conv2d(input, self.weight, self.bias, self.stride, self.padding)
        if inside:
            return output
        total: Tensor = output if summand is None else output + summand
        return total.relu() if activated else total

    def gradient_of_input(self, gradient: Tensor, sides: tuple[int, ...]) -> Tensor:
        """Gradient ``(N, C, H, W)`` of the input with ``sides`` H and W, from that of the convolution."""
        asks_for_sides = isinstance(
            self.back, BlockGradient | ColumnTransposedConvolution | PackedTransposedConvolution
        )
        result: Tensor = self.back(gradient, sides) if asks_for_sides else self.back(gradient)
        return result

    def _gives_such(self, summand: Tensor | float, features: Tensor) -> bool:
        """Whether the convolution's result is a tensor of the summand's shape and type."""
        if not isinstance(summand, Tensor):
            return False
        sides = outputs_of(features.shape[2:], self.weight.shape[2:], self.padding, self.stride)
        return summand.shape == (len(features), len(self.weight), *sides) and summand.dtype == features.dtype


class _InputGradientOnly(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, features: Tensor, summand: Tensor | None, activated: bool, convolution: FrozenConvolution
    ) -> Tensor:
        context.convolution, context.sides, context.activated = convolution, features.shape[2:], activated
        output: Tensor = convolution.ahead(features, summand, activated=activated)
        if activated:
            context.save_for_backward(output)
        return output

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        if context.activated:
            (output,) = context.saved_tensors
            gradient = torch.ops.aten.threshold_backward(gradient, output, 0)
        of_features, of_summand, *_ = context.needs_input_grad
        return (
            context.convolution.gradient_of_input(gradient, context.sides) if of_features else None,
            gradient if of_summand else None,
            None,
            None,
        )
