# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The gradient that each step of PGD follows, and which of its networks computes it.

Eight bits are enough to find the way and too few to arrive: the last steps go by the exact gradient. Whether they are
enough for an image is not taken for granted, but looked at in its first step. For bf16 the look at a probe, when the
network was prepared, is enough, and where there are few steps no exact ones are needed either.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EXACT_STEPS = 3
"""As many steps at the end follow the exact network's gradient. On held-out CIFAR-10 images, 96 % then end at most 0.01
above the loss of float32 all the way; without them 82 % (``results/int8.md``)."""

FEWEST_STEPS_CLOSED_EXACTLY = 60
"""From so many steps on, of which the exact ones are a twentieth, bf16 leaves the last ones to them too. On 96 slices a
hundred steps of one length then end as low as float32's, and 0.002 higher without; in few steps they gain less than
they cost (``results/bf16_closing.md``)."""

MIN_GRADIENT_COSINE = 0.95
"""Below this agreement of a faster network's gradients with the exact ones, the exact ones are followed.

Networks trained on slices come to 0.96 to 0.98 in bf16 on a probe, and 16 steps of PGD end within 0.004 of float32's
mean loss for them (``results/precision.md``). That does not follow from the cosine alone: where inputs are shifted so
far that bf16 loses their digits, 0.95 may come with a loss that is a fifth higher; give ``fp32`` for such a network.
"""


def target_gradient(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Gradient of the cross entropy toward ``targets`` ``(N,)`` with respect to ``images`` ``(N, C, H, W)``.

    Works under ``torch.no_grad``; the network's own parameters gather no gradient.
    """
    return target_gradient_and_loss(network, images, targets)[0]


def target_gradient_and_loss(
    network: nn.Module, images: Tensor, targets: Tensor, temperature: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Like :func:`target_gradient`, with the cross entropy itself, ``(N,)``.

    ``temperature`` ``(N,)`` divides the logits for the gradient, but not for the loss that is returned.
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_(True)
        logits = network(images).float()
        losses = functional.cross_entropy(logits, targets, reduction="none")
        softened = (
            losses
            if temperature is None
            else functional.cross_entropy(logits / temperature[:, None], targets, reduction="none")
        )
        # Summed, not averaged: each gradient is then its own image's gradient, whoever its neighbors are.
        (gradient,) = torch.autograd.grad(softened.sum(), images)
    return gradient, losses.detach()


class StepGradients:
    """Gradients of one batch toward its targets, step by step.

    Args:
        network: If it has an ``exact_network`` (see :class:`monai_advenc.acceleration.prepare.PreparedNetwork`),
            that one is asked in the last :data:`EXACT_STEPS` steps; and in all steps for those images whose gradients
            in the first step have a cosine below :data:`MIN_GRADIENT_COSINE`. If it has a ``closing_network`` instead,
            that one is asked in the last :data:`EXACT_STEPS` of at least :data:`FEWEST_STEPS_CLOSED_EXACTLY` steps.
        targets: Target classes ``(N,)``.
        steps: Number of steps to come.
        inside: Binary mask of the pixels that may move, which broadcasts to the images; only there are gradients
            compared.
    """

    def __init__(self, network: nn.Module, targets: Tensor, steps: int, inside: Tensor | None = None) -> None:
        self.network, self.targets = network, targets
        self.exact_network: nn.Module | None = getattr(network, "exact_network", None)
        closing: nn.Module | None = getattr(network, "closing_network", None)
        self.closing_network = network if closing is None or steps < FEWEST_STEPS_CLOSED_EXACTLY else closing
        self._last_from = steps - EXACT_STEPS
        # A single step before the exact ones would have to be compared with what is exact.
        self._exact_from = self._last_from if self._last_from > 1 else 0
        self._inside = 1 if inside is None else inside
        self._exactly = torch.ones(len(targets), dtype=torch.bool, device=targets.device)

    def at(self, step: int, images: Tensor) -> Tensor:
        """The gradient at ``images`` ``(N, C, H, W)`` in a step, counted from 0; steps are asked for in their order."""
        if self.exact_network is None:
            network = self.closing_network if step >= self._last_from else self.network
            return target_gradient(network, images, self.targets)
        if step >= self._exact_from or (step > 0 and self._exactly.all()):
            return target_gradient(self.exact_network, images, self.targets)
        fast = target_gradient(self.network, images, self.targets)
        if step > 0 and not self._exactly.any():
            return fast
        exact = target_gradient(self.exact_network, images, self.targets)
        if step == 0:
            self._exactly = ~agree(exact * self._inside, fast * self._inside)
            return exact
        return torch.where(self._exactly.view(-1, 1, 1, 1), exact, fast)


def agree(exact: Tensor, fast: Tensor) -> Tensor:
    """Whether gradients ``(N, C, H, W)`` point the same way, image by image; two that are zero do."""
    both_zero = ~(exact.flatten(1).any(dim=1) | fast.flatten(1).any(dim=1))
    return (cosines(exact, fast) >= MIN_GRADIENT_COSINE) | both_zero


def cosines(one: Tensor, other: Tensor) -> Tensor:
    """Cosine between two gradients of each image ``(N,)``, however small they are; NaN stays NaN."""
    # Where a gradient is far below 1, the division by lengths would be by a bound instead.
    first, second = (
        each / each.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        for each in (one.flatten(1).double(), other.flatten(1).double())
    )
    return functional.cosine_similarity(first, second, dim=1)
