# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Adaptive schedule: each image stops once more steps no longer lower its loss much (ours, not part of the paper).

On a well-trained base network, 15 steps bring half of the images as close to their targets as 100 steps do, and the
loss after three long steps shows which half. Therefore images take stretches of six steps. Before each stretch, the
loss decides how many more steps are worthwhile; images that need no more stop. Step lengths decrease linearly over the
remaining steps. ``results/few_steps.md`` lists what else was tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.gradients import EXACT_STEPS, agree, loss_gradient
from monai_advenc.acceleration.processor import to_device
from monai_advenc.perturbation.objectives import Objective

STRETCH = 6
"""Steps between two checks of the losses. The first stretch takes the remainder: three of 69 steps."""

LAST_LENGTH = 0.03
"""Length of the last step as a share of the first step's."""

LEAST_STEPS, STEPS_PER_ROOT = 6, 30
"""An image with a loss of 0.1 gets about 6 + 30 x sqrt(0.1) more steps, rounded to whole stretches. Losses are compared
by their difference, so a small loss need not be known to many digits."""

SOFTEST, SOFT_UNTIL = 1.5, 0.75
"""Temperature of the loss at the first step; it falls to 1 when steps have three quarters of the first one's length.
The softer loss depends on all classes, not only on the leading one, and more often leads to the lower minimum."""

EXACT_ABOVE = 0.05
"""The last :data:`monai_advenc.acceleration.gradients.EXACT_STEPS` steps use the exact network if the loss was above
this value when the last stretch began."""

FEW = 4
"""Images per pass for images that need the exact network because the gradients disagree; there are few of them."""

Move = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Images, their gradients, step lengths ``(N, 1, 1, 1)`` and row numbers to the images after the step."""


@dataclass
class AdaptiveSteps:
    """Move any number of images toward their targets, each in as many steps as it needs.

    Images do not advance together: the images with the most remaining steps fill the next batch. All batches have one
    size, padded if necessary, so an image's result does not depend on the other images.

    Attributes:
        network: In evaluation mode. If it has an ``exact_network``, that network computes the last steps, and all steps
            of images whose first gradients disagree (see
            :class:`monai_advenc.acceleration.gradients.StepGradients`).
        objective: Loss to minimize for each image.
        move: Takes one step.
        first_length: Length of the first step.
        steps: Maximum number of steps of an image.
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
        count, device = (len(self.objective),), self.inside.device
        self.left = torch.full(count, self.steps, device=device)
        self.length = torch.full(count, self.first_length, dtype=torch.float32, device=device)
        self.arriving, self.exactly = torch.zeros(2, *count, dtype=torch.bool, device=device)

    def from_originals(self, images: Tensor) -> Tensor:
        """Return the images ``(N, C, H, W)`` after all their steps; call it once."""
        images = images.clone()
        rows = torch.arange(len(images), device="cpu")
        for start in range(0, len(images), max(1, self.batch_size)):
            self._first_step(images, *self._there(rows[start : start + self.batch_size], self.batch_size))
        while True:
            # The CPU decides the next batch. This is all that it waits for.
            left, arriving, exactly = torch.stack([self.left, self.arriving.long(), self.exactly.long()]).cpu()
            if not left.any():
                return images
            network, rows, size = self._next_batch(left, arriving.bool(), exactly.bool())
            rows, steps = self._in_step(rows, left)
            there, padded = self._there(rows, size)
            for _ in range(steps):
                self._step(images, there, *self._gradients(network, images, padded, len(rows)))

    def _first_step(self, images: Tensor, there: Tensor, padded: Tensor) -> None:
        gradients, losses = self._gradients(self.exact_network, images, padded, len(there))
        if self.exact_network is not self.network:
            fast, _ = self._gradients(self.network, images, padded, len(there))
            inside = self.inside[there]
            self.exactly[there] = ~agree(gradients * inside, fast * inside)
        self._step(images, there, gradients, losses)

    def _next_batch(self, left: Tensor, arriving: Tensor, exactly: Tensor) -> tuple[nn.Module, Tensor, int]:
        """The network of the next pass, its rows, and the batch size, which may be larger than the number of rows."""
        closing = arriving & (left <= EXACT_STEPS) & ~exactly & (self.exact_network is not self.network)
        groups = (
            (self.network, ~exactly & ~closing, self.batch_size),
            (self.exact_network, closing, self.batch_size),
            (self.exact_network, exactly, min(FEW, self.batch_size)),
        )
        waiting = [(network, (group & (left > 0)).nonzero().flatten(), size) for network, group, size in groups]
        network, rows, size = max(waiting, key=lambda each: min(len(each[1]), each[2]) / each[2])
        longest_first = left[rows].argsort(descending=True, stable=True)
        return network, rows[longest_first[:size]], size

    def _in_step(self, rows: Tensor, left: Tensor) -> tuple[Tensor, int]:
        """Rows that take the next steps together, and how many until a loss decides again.

        On a GPU, which would be idle while the CPU decides, they take a whole stretch. On the CPU one step: batches are
        fuller that way.
        """
        if self.inside.device.type == "cpu" or self.exact_network is not self.network:
            return rows, 1
        until = (left[rows] - 1) % STRETCH + 1
        return rows[until == until[0]], int(until[0])

    def _there(self, rows: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Row numbers on the device of the images, and the same padded to a batch."""
        padded = to_device(torch.cat([rows, rows[-1:].expand(size - len(rows))]), self.inside.device)
        return padded[: len(rows)], padded

    def _step(self, images: Tensor, there: Tensor, gradients: Tensor, losses: Tensor) -> None:
        self._look(there, losses)
        length = self.length[there]
        images[there] = self.move(images[there], gradients, length.view(-1, 1, 1, 1), there)
        self.left[there] -= 1
        self.length[there] -= (length - LAST_LENGTH * self.first_length) / self.left[there].clamp_min(1)

    def _look(self, there: Tensor, losses: Tensor) -> None:
        """Reduce the remaining steps of images that begin a stretch, if their losses are worth fewer."""
        left = self.left[there]
        begins = left % STRETCH == 0
        fewer = torch.minimum(left, steps_worth_while(losses))
        left = torch.where(begins & (left < self.steps), fewer, left)
        self.left[there] = left
        arriving = begins & (left == STRETCH) & (losses > EXACT_ABOVE)
        self.arriving[there] |= arriving | (self.steps < STRETCH)

    def _gradients(self, network: nn.Module, images: Tensor, padded: Tensor, count: int) -> tuple[Tensor, Tensor]:
        softness = (self.length[padded] / self.first_length - SOFT_UNTIL) / (1 - SOFT_UNTIL)
        temperature = 1 + (SOFTEST - 1) * softness.clamp_min(0)
        gradients, losses = loss_gradient(network, images[padded], self.objective.of(padded), temperature)
        return gradients[:count], losses[:count]


def steps_worth_while(losses: Tensor) -> Tensor:
    """Number of further steps for losses ``(N,)``, in whole stretches; int64. NaN counts as infinity."""
    wanted = LEAST_STEPS + STEPS_PER_ROOT * losses.nan_to_num(nan=float("inf")).clamp(0, 1e6).sqrt()
    return STRETCH * (wanted / STRETCH).round().clamp_min(1).long()
