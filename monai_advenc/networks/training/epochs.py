# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Run training epochs: every image once, in random order, by SGD with Nesterov momentum."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.errors import NetworkError
from monai_advenc.networks.ensemble import log_probabilities
from monai_advenc.networks.training.augmentation import draw_moves, move
from monai_advenc.networks.training.schedule import SCHEDULES
from monai_advenc.networks.training.settings import TrainingSettings

LogitsAndLoss = tuple[Tensor, Tensor]


class Lesson(Protocol):
    """What a network learns from a batch, where it is not the cross entropy of the images as they are."""

    def __call__(self, network: nn.Module, images: Tensor, labels: Tensor, draws: torch.Generator) -> LogitsAndLoss:
        """Compute logits ``(N, K)`` and the scalar loss to lower.

        Args:
            network: In training mode.
            images: A batch ``(N, C, H, W)`` in [0, 1], augmented.
            labels: ``(N,)``.
            draws: Source of all random choices, a generator of the CPU.
        """


class Epochs:
    """Shared state of a run's epochs: data on the device, optimizer, random state, position in the schedule."""

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        weight: Tensor,
        settings: TrainingSettings,
        lesson: Lesson | None = None,
    ) -> None:
        self.network, self.images, self.labels, self.weight, self.settings = network, images, labels, weight, settings
        self.lesson = lesson
        self.autocast = settings.in_bf16_on(images.device)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.batches = -(-len(images) // settings.batch_size)
        self.step = 0
        self.optimizer = torch.optim.SGD(
            network.parameters(),
            lr=settings.peak_learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=True,
        )

    def state(self) -> dict[str, Any]:
        """State of the run: weights, optimizer, random state, step."""
        return {
            "network": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "draws": self.generator.get_state(),
            "step": self.step,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["draws"])
        self.step = state["step"]

    def run_next(self) -> tuple[float, float]:
        """Train on every image once; return mean loss and accuracy over the epoch."""
        self.network.train()
        order = torch.randperm(len(self.images), generator=self.generator)
        # Losses and hits stay on the device until the end: waiting for those of each step would leave a GPU idle.
        losses, hits = [], []
        for indices, moves in self._batches(order):
            labels = self.labels[indices]
            logits, loss = self._learn(indices, labels, moves)
            losses.append(loss)
            hits.append((logits.argmax(dim=1) == labels).sum())
        sizes = [len(indices) for indices in order.tensor_split(self.batches)]
        total_loss = 0.0
        for value, size in zip(torch.stack(losses).tolist(), sizes, strict=True):
            total_loss += value * size
        if not math.isfinite(total_loss):
            raise NetworkError(
                f"training diverged: the loss is {total_loss} after {self.step} steps; lower the learning rate "
                f"(now {self.settings.peak_learning_rate})"
            )
        return total_loss / len(self.images), int(torch.stack(hits).sum()) / len(self.images)

    def _batches(self, order: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Indices of each batch, and how its images are moved, on the device; copied there at once where possible."""
        there = order.to(self.images.device).tensor_split(self.batches)
        if self.settings.augmentation is None:
            yield from ((indices, None) for indices in there)
        elif self.lesson is not None:
            # A lesson draws too, after each batch.
            yield from ((indices, self._draw(len(indices)).to(self.images.device)) for indices in there)
        else:
            moves = torch.cat([self._draw(len(indices)) for indices in there]).to(self.images.device)
            yield from zip(there, moves.tensor_split(self.batches), strict=True)

    def _draw(self, count: int) -> Tensor:
        assert self.settings.augmentation is not None
        height, width = self.images.shape[-2:]
        return draw_moves(count, (height, width), self.settings.augmentation, self.generator)

    def _learn(self, indices: Tensor, labels: Tensor, moves: Tensor | None) -> tuple[Tensor, Tensor]:
        settings = self.settings
        batch = self.images[indices]
        if moves is not None:
            batch = move(batch, moves)
        batch = batch.contiguous(memory_format=torch.channels_last)
        rate = SCHEDULES[settings.schedule](self.step, self.batches * settings.epochs, settings.peak_learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=self.autocast):
            if self.lesson is not None:
                logits, loss = self.lesson(self.network, batch, labels, self.generator)
            else:
                logits = self.network(batch)
                chances = log_probabilities(self.network, logits.float())
                loss = functional.nll_loss(chances, labels, weight=self.weight)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        return logits.detach(), loss.detach()
