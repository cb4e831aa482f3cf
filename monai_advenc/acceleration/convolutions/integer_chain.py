# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Chains of convolutions computed in int8, forward and backward.

Between two convolutions, the first writes the codes that the second reads, so no encoding is needed. Summands, as the
two paths through a residual block, stay in floating point, because eight bits are too few for a sum of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from monai_advenc.acceleration.convolutions.frozen import FrozenConvolution
from monai_advenc.acceleration.convolutions.integer import (
    LARGEST_ACTIVATION,
    LARGEST_GRADIENT,
    IntegerConvolution,
    encode_activations,
    encode_gradient,
)

HEADROOM = 2.0
"""Headroom of gradients between two convolutions: a gradient is clipped if its ratio to the gradient that it comes from
exceeds the calibration value, the median of a few images, by more than this factor."""

_TINY = 1e-30


class Link(NamedTuple):
    """One convolution of a chain. Values are numbered: 0 is the chain's input, ``n`` the result of the n-th link.

    Attributes:
        convolution: The floating-point convolution.
        source: Number of the value that is convolved: the chain's input or a value after ReLU.
        summand: Number of the value that is added.
        activated: Whether ReLU follows.
    """

    convolution: FrozenConvolution
    source: int
    summand: int | None
    activated: bool


class _Values(NamedTuple):
    """All values of one pass, as floats, as codes, or both; ``None`` where a form is not kept."""

    floats: list[Any]
    codes: list[Any]


class _CodedGradient(NamedTuple):
    """A gradient ``codes * scale * image_scales``; ``image_scales`` is ``(N, 1, 1, 1)``."""

    codes: Tensor
    scale: float
    image_scales: Tensor


class IntegerChain(nn.Module):
    """A chain of convolutions in int8, with scales calibrated on a few images.

    Args:
        links: In the order of computation. Only later links use the values, except for the last value.
        features: The chain's input ``(N, C, H, W)`` for a few images; non-negative.
        gradient: Gradient of the chain's result for the same images.
    """

    def __init__(self, links: Sequence[Link], features: Tensor, gradient: Tensor) -> None:
        super().__init__()
        self.plan = [(link.source, link.summand, link.activated) for link in links]
        self.ahead, self.back = nn.ModuleList(), nn.ModuleList()
        for link in links:
            frozen = link.convolution
            self.ahead.append(IntegerConvolution(frozen.weight, frozen.bias, frozen.padding, frozen.stride))
            self.back.append(_gradient_of(frozen))
        self._decide_what_is_kept()
        self._find_scales(links, features, gradient)

    def forward(self, features: Tensor) -> Tensor:
        """Map the chain's input ``(N, C, H, W)`` to its result ``(N, O, H', W')``, of the same type."""
        if not len(features):  # Packed weights depend on the number of images.
            return self.forward(torch.cat([features, features.new_zeros(1, *features.shape[1:])]))[:0]
        # torch does not annotate it.
        result: Tensor = _ThroughChain.apply(features, self)  # type: ignore[no-untyped-call]
        return result

    def _decide_what_is_kept(self) -> None:
        last = len(self.plan)
        sources = [source for source, _, _ in self.plan]
        summands = {summand for _, summand, _ in self.plan}
        self.keeps_codes = [number in sources for number in range(last + 1)]
        self.keeps_floats = [number in {0, last} | summands for number in range(last + 1)]
        self.gradient_stays_coded = [False] * (last + 1)
        for number, (_, summand, activated) in enumerate(self.plan, 1):
            self.keeps_floats[number] |= summand is not None or not activated
            read_once = sources.count(number) == 1 and number not in summands and number != last
            reader = self.back[sources.index(number)] if read_once else None
            coded_on_both_sides = isinstance(reader, IntegerConvolution) and isinstance(
                self.back[number - 1], IntegerConvolution
            )
            self.gradient_stays_coded[number] = coded_on_both_sides and summand is None

    def _find_scales(self, links: Sequence[Link], features: Tensor, gradient: Tensor) -> None:
        values = [features]
        for link in links:
            summand = None if link.summand is None else values[link.summand]
            values.append(link.convolution.ahead(values[link.source], summand, activated=link.activated))
        self.scales = [max(value.amax().item(), _TINY) / LARGEST_ACTIVATION for value in values]
        self.gradient_scales = [1.0] * len(values)
        gradients: list[Tensor | None] = [*[None] * len(links), gradient]
        references: list[Tensor | None] = [None] * len(values)
        for number in range(len(links), 0, -1):
            link, flowing = links[number - 1], gradients[number]
            if flowing is None:
                continue
            if link.activated:
                flowing = torch.ops.aten.threshold_backward(flowing, values[number], 0)
            reference = references[number]
            unit = _unit(flowing) if reference is None else reference
            if link.summand is not None:
                gradients[link.summand] = _sum(gradients[link.summand], flowing)
            onward = link.convolution.gradient_of_input(flowing, values[link.source].shape[2:])
            gradients[link.source] = _sum(gradients[link.source], onward)
            if self.gradient_stays_coded[link.source]:
                references[link.source] = unit
                # In units of the value of code 1 in the gradient that it comes from.
                beside = (_unit(onward) / unit).median().item() * HEADROOM
                self.gradient_scales[link.source] = max(beside, _TINY)

    def run_ahead(self, features: Tensor) -> _Values:
        """Compute all values from the chain's input."""
        features = features.contiguous(memory_format=torch.channels_last)
        values = _Values([features], [encode_activations(features, self.scales[0])])
        for number, (source, summand, activated) in enumerate(self.plan, 1):
            codes, convolution = values.codes[source], cast(IntegerConvolution, self.ahead[number - 1])
            if self.keeps_floats[number]:
                added = None if summand is None else values.floats[summand]
                floats = convolution.to_floats(codes, self.scales[source], features.dtype, added, activated=activated)
                coded = encode_activations(floats, self.scales[number]) if self.keeps_codes[number] else None
            else:
                floats, coded = None, convolution.to_codes(codes, self.scales[source], self.scales[number])
            values.floats.append(floats)
            values.codes.append(coded)
        return values

    def run_back(self, values: _Values, gradient: Tensor) -> Tensor:
        """Compute the gradient of the chain's input from that of its result."""
        gradients: list[Tensor | _CodedGradient | None] = [*[None] * len(self.plan), gradient]
        for number in range(len(self.plan), 0, -1):
            flowing, gradients[number] = gradients[number], None
            if isinstance(flowing, _CodedGradient):
                self._pass_coded(number, values, gradients, flowing)
            elif flowing is not None:
                self._pass_floats(number, values, gradients, flowing)
        return cast(Tensor, gradients[0])

    def _pass_floats(self, number: int, values: _Values, gradients: list[Any], flowing: Tensor) -> None:
        source, summand, activated = self.plan[number - 1]
        if activated:
            kept = values.floats[number]
            reference = values.codes[number].to(flowing.dtype) if kept is None else kept
            flowing = torch.ops.aten.threshold_backward(flowing, reference, 0)
        if summand is not None:
            gradients[summand] = _sum(gradients[summand], flowing)
        back = self.back[number - 1]
        if isinstance(back, IntegerConvolution):
            codes, image_scales = encode_gradient(flowing)
            self._pass_codes_on(number, gradients, _CodedGradient(codes, 1.0, image_scales))
        else:
            gradients[source] = _sum(gradients[source], back(flowing, self._sides(values, source)))

    def _pass_coded(self, number: int, values: _Values, gradients: list[Any], flowing: _CodedGradient) -> None:
        codes = flowing.codes
        if self.plan[number - 1][2]:
            codes = torch.ops.aten.threshold_backward(codes.view(torch.uint8), values.codes[number], 0).view(torch.int8)
        self._pass_codes_on(number, gradients, flowing._replace(codes=codes))

    def _pass_codes_on(self, number: int, gradients: list[Any], flowing: _CodedGradient) -> None:
        source, back = self.plan[number - 1][0], cast(IntegerConvolution, self.back[number - 1])
        codes, scale, image_scales = flowing
        if self.gradient_stays_coded[source]:
            onward = self.gradient_scales[source]
            gradients[source] = _CodedGradient(back.gradient_to_codes(codes, scale, onward), onward, image_scales)
            return
        floats = back.gradient_to_floats(codes, scale, image_scales.dtype)
        before = gradients[source]
        gradients[source] = floats.mul_(image_scales) if before is None else before.addcmul(floats, image_scales)

    @staticmethod
    def _sides(values: _Values, number: int) -> tuple[int, ...]:
        kept = values.floats[number] if values.codes[number] is None else values.codes[number]
        return tuple(kept.shape[2:])


def _gradient_of(frozen: FrozenConvolution) -> nn.Module:
    if frozen.stride != (1, 1):
        return frozen.back
    mirrored = frozen.weight.transpose(0, 1).flip(2, 3)
    around = tuple(size - 1 - each for size, each in zip(frozen.weight.shape[2:], frozen.padding, strict=True))
    return IntegerConvolution(mirrored, None, around, (1, 1))


def _unit(gradient: Tensor) -> Tensor:
    """Value of code 1 in each image's gradient, ``(N,)``."""
    return gradient.float().flatten(1).abs().amax(dim=1).clamp_min(_TINY) / LARGEST_GRADIENT


def _sum(one: Tensor | None, other: Tensor) -> Tensor:
    return other if one is None else one + other


class _ThroughChain(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: Tensor, chain: IntegerChain) -> Tensor:
        context.chain, context.values = chain, chain.run_ahead(features)
        result: Tensor = context.values.floats[-1]
        # The caller holds the result too; kept outside of autograd's list, it would never be freed.
        context.values.floats[-1] = None
        # Without ReLU the gradient does not need the result, and the caller may change it in place.
        _, _, activated = chain.plan[-1]
        context.save_for_backward(result if activated else None)
        return result

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (result,) = context.saved_tensors
        values = context.values._replace(floats=[*context.values.floats[:-1], result])
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        chain: IntegerChain = context.chain
        return chain.run_back(values, gradient), None
