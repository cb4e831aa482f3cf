# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Which convolutions of a network are replaced, and the one whose gradient goes to the input alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from monai_advenc.convolutions.blocks import BlockConvolution
from monai_advenc.convolutions.packed import PackedConvolution, packing_works
from monai_advenc.convolutions.winograd import WinogradConvolution, winograd_gains

MOST_CHANNELS_FOR_BLOCKS = 16
"""A strided first convolution is rewritten on blocks of pixels where a block has at most so many values."""

FEWEST_PACKED_WEIGHTS = 100_000
"""Below this size of a kernel (105 channels, if it is 3x3), ordered weights and Winograd's tiles gain little."""


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


class FrozenConvolution(nn.Module):
    """A convolution of stride 1 by fixed weights, whose gradient goes to the input alone.

    Forward and backward it is computed Winograd's way where that gains, and on packed weights elsewhere.

    Args:
        convolution: With fewer rows and columns of padding than its kernel has.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight, padding = convolution.weight.detach(), tuple(int(each) for each in convolution.padding)
        # The gradient of a convolution is the convolution of the gradient with the mirrored weights.
        mirrored = weight.transpose(0, 1).flip(2, 3)
        back = tuple(size - 1 - each for size, each in zip(weight.shape[2:], padding, strict=True))
        kind = WinogradConvolution if winograd_gains(weight) else PackedConvolution
        self.ahead = kind(weight, convolution.bias, padding)
        self.back = kind(mirrored, None, back)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, O, H', W')``."""
        # torch does not annotate it.
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
