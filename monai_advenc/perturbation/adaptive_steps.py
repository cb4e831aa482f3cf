# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Steps of which each image takes as many as its loss asks for (ours, beyond the paper).

On a well-trained base fifteen steps bring half of the images as near to their targets as a hundred do, and the loss
after three long steps tells which half. So images go in stretches of six steps; before each one a look at the loss says
how many steps are still worth while, and those that have arrived leave. Step lengths fall in a straight line to the end
of what is left. What else was tried: ``results/few_steps.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.gradients import EXACT_STEPS, agree, loss_gradient
from monai_advenc.perturbation.objectives import Objective

STRETCH = 6
"""Steps from one look at the losses to the next. The first stretch takes what is over: three of 69 steps."""

LAST_LENGTH = 0.03
"""Share of the first step's length that is left for the last."""

LEAST_STEPS, STEPS_PER_ROOT = 6, 30
"""An image at a loss of 0.1 is given about 6 + 30 x sqrt(0.1) more steps, rounded to whole stretches: as losses are
compared by their difference, a small one need not be known to many digits."""

SOFTEST, SOFT_UNTIL = 1.5, 0.75
"""Temperature of the loss at the first step; it falls to 1 when steps are three quarters of the first one's length.
The softer loss hears all classes, not just the one that leads, and so more often finds the way to the lower end."""

EXACT_ABOVE = 0.05
"""The last :data:`monai_advenc.acceleration.gradients.EXACT_STEPS` steps follow the exact network where the loss was
above that when the last stretch began."""

FEW = 4
"""Images per pass where the exact network is asked because the other one disagrees: these are few."""

Move = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Images, their gradients, step lengths ``(N, 1, 1, 1)`` and row numbers to the images after the step."""


@dataclass
class AdaptiveSteps:
    """A walk of any number of images, each toward its target, in as many steps as it needs.

    Images need not keep step with each other: those that have the longest way to go fill the next batch. What an image
    is asked in a step always comes in batches of one size, padded if need be, so that where it ends depends on none of
    the others.

    Attributes:
        network: In evaluation mode. If it has an ``exact_network``, that one goes the last steps, and all steps with
            images whose first gradients disagree (see :class:`monai_advenc.acceleration.gradients.StepGradients`).
        objective: What is to fall, image by image.
        move: One step.
        first_length: Length of the first step.
        steps: The most that an image may take.
        batch_size: Images per pass.
        inside: Binary mask that broadcasts to the images: where gradients are compared.
    """

    network: nn.Module
    objective: Objective
    move: Move
    first_length: float
    steps: int
    batch_size: int
    inside: Tensor

    def __post_init__(self) -> None:
        self.exact_network: nn.Module = getattr(self.network, "exact_network", None) or self.network
        # On the processor, where it is decided who goes next.
        count = (len(self.objective),)
        self.left = torch.full(count, self.steps, device="cpu")
        self.length = torch.full(count, self.first_length, dtype=torch.float32, device="cpu")
        self.arriving, self.exactly = torch.zeros(2, *count, dtype=torch.bool, device="cpu")

    def from_originals(self, images: Tensor) -> Tensor:
        """Where the images ``(N, C, H, W)`` end; to be called once."""
        images = images.clone()
        rows = torch.arange(len(images), device="cpu")
        for start in range(0, len(images), max(1, self.batch_size)):
            self._first_step(images, rows[start : start + self.batch_size])
        while self.left.any():
            network, rows, size = self._next_batch()
            self._step(images, rows, *self._gradients(network, images, rows, size))
        return images

    def _first_step(self, images: Tensor, rows: Tensor) -> None:
        gradients, losses = self._gradients(self.exact_network, images, rows, self.batch_size)
        if self.exact_network is not self.network:
            fast, _ = self._gradients(self.network, images, rows, self.batch_size)
            inside = self.inside[rows.to(images.device)]
            self.exactly[rows] = ~agree(gradients * inside, fast * inside).cpu()
        self._step(images, rows, gradients, losses)

    def _next_batch(self) -> tuple[nn.Module, Tensor, int]:
        """The network to ask, the rows to ask it for, and the size of the batch, which they may not fill."""
        exactly = self.exactly
        closing = self.arriving & (self.left <= EXACT_STEPS) & ~exactly & (self.exact_network is not self.network)
        groups = (
            (self.network, ~exactly & ~closing, self.batch_size),
            (self.exact_network, closing, self.batch_size),
            (self.exact_network, exactly, min(FEW, self.batch_size)),
        )
        waiting = [(network, (group & (self.left > 0)).nonzero().flatten(), size) for network, group, size in groups]
        network, rows, size = max(waiting, key=lambda each: min(len(each[1]), each[2]) / each[2])
        longest_first = self.left[rows].argsort(descending=True, stable=True)
        return network, rows[longest_first[:size]], size

    def _step(self, images: Tensor, rows: Tensor, gradients: Tensor, losses: Tensor) -> None:
        self._look(rows, losses.cpu())
        there, length = rows.to(images.device), self.length[rows]
        images[there] = self.move(images[there], gradients, length.to(images.device).view(-1, 1, 1, 1), there)
        self.left[rows] -= 1
        self.length[rows] -= (length - LAST_LENGTH * self.first_length) / self.left[rows].clamp_min(1)

    def _look(self, rows: Tensor, losses: Tensor) -> None:
        """Shorten the way of those that begin a stretch, where their losses are worth no more."""
        left = self.left[rows]
        begins = left % STRETCH == 0
        fewer = torch.minimum(left, steps_worth_while(losses))
        self.left[rows] = torch.where(begins & (left < self.steps), fewer, left)
        arriving = begins & (self.left[rows] == STRETCH) & (losses > EXACT_ABOVE)
        self.arriving[rows] |= arriving | (self.steps < STRETCH)

    def _gradients(self, network: nn.Module, images: Tensor, rows: Tensor, size: int) -> tuple[Tensor, Tensor]:
        padded = torch.cat([rows, rows[-1:].expand(size - len(rows))])
        there = padded.to(images.device)
        softness = (self.length[padded] / self.first_length - SOFT_UNTIL) / (1 - SOFT_UNTIL)
        temperature = (1 + (SOFTEST - 1) * softness.clamp_min(0)).to(images.device)
        gradients, losses = loss_gradient(network, images[there], self.objective.of(there), temperature)
        return gradients[: len(rows)], losses[: len(rows)]


def steps_worth_while(losses: Tensor) -> Tensor:
    """How many more steps losses ``(N,)`` are worth, in whole stretches; int64. NaN is worth as many as infinity."""
    wanted = LEAST_STEPS + STEPS_PER_ROOT * losses.nan_to_num(nan=float("inf")).clamp(0, 1e6).sqrt()
    return STRETCH * (wanted / STRETCH).round().clamp_min(1).long()
