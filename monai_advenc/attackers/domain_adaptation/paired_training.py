# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train on both domains together, with equally many source and target images in every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.attackers.domain_adaptation.task import AdaptationTask, autocast
from monai_advenc.errors import NetworkError
from monai_advenc.networks.features import features_and_logits
from monai_advenc.networks.training import TrainingSettings
from monai_advenc.networks.training.augmentation import shift_and_flip
from monai_advenc.networks.training.class_weights import class_weights
from monai_advenc.networks.training.schedule import one_cycle


@dataclass(frozen=True)
class PairedBatch:
    """Data of one training step.

    Attributes:
        images: N source images, then N target images: ``(2 N, C, H, W)``, augmented. They share a batch, because batch
            norm would otherwise use separate statistics in training and common ones afterwards.
        labels: Labels of the source images, ``(N,)``.
        class_weight: Weight of each class in the loss, ``(K,)``.
        step: Number of the step, from 0.
        steps: Number of steps of the whole run.
    """

    images: Tensor
    labels: Tensor
    class_weight: Tensor
    step: int
    steps: int

    @property
    def source(self) -> Tensor:
        """The source images."""
        return self.images[: len(self.labels)]

    def source_loss(self, logits: Tensor) -> Tensor:
        """Cross entropy of the source images' logits, the first N of ``(2 N, K)``."""
        return functional.cross_entropy(logits[: len(self.labels)].float(), self.labels, weight=self.class_weight)


class Descent:
    """SGD with Nesterov momentum and one learning rate cycle, like :func:`monai_advenc.networks.training.train`.

    Args:
        parameters: Parameters to train.
        settings: Peak rate, momentum and weight decay.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> None:
        self.parameters = list(parameters)
        self.peak = settings.peak_learning_rate
        self.optimizer = torch.optim.SGD(
            self.parameters,
            lr=self.peak,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=True,
        )

    def take_step(self, loss: Tensor, batch: PairedBatch) -> None:
        """Take a step down the gradient of ``loss`` with respect to these parameters only."""
        for group in self.optimizer.param_groups:
            group["lr"] = one_cycle(batch.step, batch.steps, self.peak)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=self.parameters)
        self.optimizer.step()


def train_on_pairs(task: AdaptationTask, network: nn.Module, learn: Callable[[PairedBatch], Tensor]) -> nn.Module:
    """Run the task's epochs.

    Args:
        task: Data and training settings.
        network: Network to train in place.
        learn: Takes one step and returns its loss, a scalar without gradient.

    Returns:
        ``network``, in evaluation mode.

    Raises:
        NetworkError: Training diverged.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's annotations
    batches = _Batches(task)
    for epoch in range(task.settings.epochs):
        network.train()
        # Summed on the device, because waiting for each step's loss would leave a GPU idle.
        total = torch.zeros((), device=task.device)
        for batch in batches.of_epoch(epoch):
            total += learn(batch)
        if not math.isfinite(total.item()):
            raise NetworkError(
                f"adaptation diverged: the loss is {total.item()} in epoch {epoch + 1}; lower the learning rate "
                f"(now {task.settings.peak_learning_rate})"
            )
        task.observe(network.eval())
    return network.eval()


def train_with_alignment(
    task: AdaptationTask,
    network: nn.Module,
    misalignment: Callable[[PairedBatch, Tensor], Tensor],
    further: nn.Module | None = None,
) -> nn.Module:
    """Run the task's epochs and minimize the classification loss plus a loss of both domains' features.

    Args:
        task: Data and training settings.
        network: Network to train in place.
        misalignment: Maps a batch and its features ``(2 N, D)``, float32, to a scalar loss.
        further: Module of that loss, trained together with the network.

    Returns:
        ``network``, in evaluation mode.

    Raises:
        NetworkError: Training diverged.
    """
    descent = Descent([*network.parameters(), *(further.parameters() if further else ())], task.settings)

    def learn(batch: PairedBatch) -> Tensor:
        with autocast(task):
            features, logits = features_and_logits(network, batch.images)
        loss = batch.source_loss(logits) + misalignment(batch, features.float())
        descent.take_step(loss, batch)
        return loss.detach()

    return train_on_pairs(task, network, learn)


class _Batches:
    """Both domains on the device, and the random state of order and augmentation."""

    def __init__(self, task: AdaptationTask) -> None:
        source, settings = task.source, task.settings
        self.settings, self.device = settings, task.device
        self.images, self.labels = source.images.to(task.device), source.labels.to(task.device)
        self.target = task.target.to(task.device)
        self.class_weight = class_weights(source, settings.class_weights).to(task.device)
        self.per_epoch = -(-len(source) // settings.batch_size)
        self.generator = torch.Generator().manual_seed(settings.seed)

    def of_epoch(self, epoch: int) -> Iterator[PairedBatch]:
        """Yield every source image once and equally many target images, whose counts differ by at most one."""
        count, steps = len(self.images), self.per_epoch * self.settings.epochs
        sources = self._order(count, count).tensor_split(self.per_epoch)
        targets = self._order(len(self.target), count).tensor_split(self.per_epoch)
        for place, (source, target) in enumerate(zip(sources, targets, strict=True)):
            images = torch.cat([self.images[source], self.target[target]])
            if self.settings.augmentation is not None:
                images = shift_and_flip(images, self.settings.augmentation, self.generator)
            yield PairedBatch(
                images.contiguous(memory_format=torch.channels_last),
                self.labels[source],
                self.class_weight,
                epoch * self.per_epoch + place,
                steps,
            )

    def _order(self, available: int, needed: int) -> Tensor:
        rounds = -(-needed // available)
        order = torch.cat([torch.randperm(available, generator=self.generator) for _ in range(rounds)])
        return order[:needed].to(self.device)
