# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The gradient that each step of PGD follows, and which network computes it: a fast or the exact one.

Gradients of an int8 network are good enough for all but the last steps, which take the exact network. The first step
checks this for each image. For bf16 a probe, computed when the network is prepared, is check enough, and few steps need
no exact ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

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


Answer = Tensor | tuple[Tensor, Tensor]
"""What a network answers: logits, or logits and features."""

Loss = Callable[[Tensor, Tensor | None], Tensor]
"""From logits ``(N, K, ...)``, and features where the network answers with them too, to one loss an image, ``(N,)``."""


def logits_and_features(answer: Answer) -> tuple[Tensor, Tensor | None]:
    """The two parts of an answer."""
    return answer if isinstance(answer, tuple) else (answer, None)


def loss_gradient(
    network: nn.Module, images: Tensor, loss: Loss, temperature: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Gradient of a loss with respect to ``images`` ``(N, C, H, W)``, and the loss itself, ``(N,)``.

    Works under ``torch.no_grad``; the network's own parameters gather no gradient.

    Args:
        network: Answers with logits, or with logits and features.
        images: Float32 in [0, 1].
        loss: What is to fall, image by image.
        temperature: ``(N,)``: divides the logits for the gradient, but not for the loss that is returned.
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_(True)
        logits, features = logits_and_features(network(images))
        logits = logits.float()
        losses = loss(logits, features)
        softened = losses
        if temperature is not None:
            softened = loss(logits / temperature.view(-1, *[1] * (logits.ndim - 1)), features)
        # Summed, not averaged: each gradient is then its own image's gradient, independent of the batch.
        (gradient,) = torch.autograd.grad(softened.sum(), images)
    return gradient, losses.detach()


def target_gradient(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Gradient of the cross entropy toward ``targets`` ``(N,)`` with respect to ``images`` ``(N, C, H, W)``."""
    return loss_gradient(network, images, lambda logits, _: cross_entropy(logits, targets, reduction="none"))[0]


class StepGradients:
    """Gradients of one batch, step by step.

    Args:
        network: If it has an ``exact_network`` (see :class:`monai_advenc.acceleration.prepare.PreparedNetwork`), that
            network computes the last :data:`EXACT_STEPS` steps; and all steps for the images whose gradients in the
            first step have a cosine below :data:`MIN_GRADIENT_COSINE`. If it has a ``closing_network`` instead, that
            network computes the last :data:`EXACT_STEPS` of at least :data:`FEWEST_STEPS_CLOSED_EXACTLY` steps.
        loss: What is to fall, image by image.
        steps: Number of steps to come.
        inside: Binary mask of the pixels that may move, which broadcasts to the images; gradients are compared there.
    """

    def __init__(self, network: nn.Module, loss: Loss, steps: int, inside: Tensor | None = None) -> None:
        self.network, self.loss = network, loss
        self.exact_network: nn.Module | None = getattr(network, "exact_network", None)
        closing: nn.Module | None = getattr(network, "closing_network", None)
        self.closing_network = network if closing is None or steps < FEWEST_STEPS_CLOSED_EXACTLY else closing
        self._last_from = steps - EXACT_STEPS
        # A single step before the exact ones would have to be compared with what is exact.
        self._exact_from = self._last_from if self._last_from > 1 else 0
        self._inside = 1 if inside is None else inside
        self._exactly = torch.ones(1, dtype=torch.bool)

    def at(self, step: int, images: Tensor) -> Tensor:
        """Gradient at ``images`` ``(N, C, H, W)`` in a step, counted from 0; ask for the steps in their order."""
        if self.exact_network is None:
            return self._of(self.closing_network if step >= self._last_from else self.network, images)
        if step >= self._exact_from or (step > 0 and self._exactly.all()):
            return self._of(self.exact_network, images)
        fast = self._of(self.network, images)
        if step > 0 and not self._exactly.any():
            return fast
        exact = self._of(self.exact_network, images)
        if step == 0:
            self._exactly = ~agree(exact * self._inside, fast * self._inside)
            return exact
        return torch.where(self._exactly.view(-1, 1, 1, 1), exact, fast)

    def _of(self, network: nn.Module, images: Tensor) -> Tensor:
        return loss_gradient(network, images, self.loss)[0]


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
    return cosine_similarity(first, second, dim=1)
