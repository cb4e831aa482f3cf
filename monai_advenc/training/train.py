# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Training a classifier, on CPU or GPU: the base network, and the victims that show what encryption does."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.datasets.image_set import ImageSet
from monai_advenc.errors import DatasetError, NetworkError, SettingsError
from monai_advenc.networks.normalize import with_standardization
from monai_advenc.perturbation import require_pixels
from monai_advenc.training.augmentation import shift_and_flip
from monai_advenc.training.reproducibility import reproducible
from monai_advenc.training.schedule import SCHEDULES
from monai_advenc.training.settings import TrainingSettings
from monai_advenc.training.unfinished import UnfinishedTraining

VALIDATION_BATCH = 256
"""Images per forward pass when no gradient is needed."""


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """What one epoch came to; accuracies as fractions, on augmented images for training; and what was observed."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_accuracy: float | None
    observed: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A trained network and how it came about.

    Attributes:
        network: In evaluation mode; that of the best epoch by validation (the later on ties), else of the last.
        history: One record an epoch.
        best_epoch: The epoch that ``network`` comes from, counted from 1.
    """

    network: nn.Module
    history: list[EpochRecord]
    best_epoch: int


def train(
    network: nn.Module,
    train_set: ImageSet,
    validation_set: ImageSet | None,
    settings: TrainingSettings,
    *,
    progress: Callable[[EpochRecord], None] | None = None,
    observe: Callable[[nn.Module], Mapping[str, float] | None] | None = None,
    unfinished: Path | None = None,
) -> TrainingResult:
    """Train a copy of ``network`` by SGD with Nesterov momentum, one learning rate cycle and cross entropy.

    The same arguments give the same weights, bit for bit, on the same kind of processor with the same thread count.

    Args:
        network: Takes images in [0, 1], gives logits; it stays as it is. Training happens on its device.
        train_set: At least two images a class.
        validation_set: Decides which epoch's network is kept; ``None`` keeps the last.
        settings: How to train.
        progress: Called after each epoch.
        observe: Called after each epoch with the network in evaluation mode, which it must leave as it is; what it
            returns is kept in the epoch's record.
        unfinished: A file for the state after each epoch: a training that was stopped goes on from there and ends with
            the same weights. It is gone when the training is done.

    Returns:
        The trained network in evaluation mode, and the record of each epoch.

    Raises:
        DatasetError: Too few images in a class, or sets that do not fit together.
        ImageError: Images hold NaN or values outside [0, 1].
        NetworkError: The network does not fit the images, or the loss became NaN.
        OutputError: ``unfinished`` is of another training, or the disk refuses.
        SettingsError: As many class weights as classes are needed.
    """
    check_sets(train_set, validation_set)
    sets = [train_set] if validation_set is None else [train_set, validation_set]
    kept = UnfinishedTraining(unfinished, network, sets, settings)
    network = with_standardization(network, train_set.images) if settings.standardize else copy.deepcopy(network)
    device = next(network.parameters()).device
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's annotations
    _require_fit(network, train_set, device)
    weight = class_weights(train_set, settings.class_weights)
    epochs = _Epochs(network, train_set.images.to(device), train_set.labels.to(device), weight.to(device), settings)
    best = _Best(network)
    history: list[EpochRecord] = []
    with reproducible(settings.seed):
        if kept.state is not None:
            history = [EpochRecord(**record) for record in kept.state["history"]]
            epochs.load(kept.state["epochs"])
            best.load(kept.state["best"])
            kept.restore_draws()
        for epoch in range(len(history) + 1, settings.epochs + 1):
            loss, train_accuracy = epochs.run_next()
            accuracy = None
            if validation_set is not None:
                accuracy = accuracy_of(network, validation_set.images, validation_set.labels, autocast=epochs.autocast)
            best.consider(network, epoch, accuracy)
            record = EpochRecord(
                epoch=epoch,
                train_loss=loss,
                train_accuracy=train_accuracy,
                validation_accuracy=accuracy,
                observed=dict(observe(network.eval()) or {}) if observe is not None else {},
            )
            history.append(record)
            if progress is not None:
                progress(record)
            kept.save({"history": [asdict(each) for each in history], "epochs": epochs.state(), "best": best.state()})
    network.load_state_dict(best.weights)
    kept.remove()
    return TrainingResult(network=network.eval(), history=history, best_epoch=best.epoch)


class _Best:
    """The weights of the best epoch by validation, the later on ties; without validation those of the last."""

    def __init__(self, network: nn.Module) -> None:
        self.weights, self.epoch, self.accuracy = network.state_dict(), 0, -1.0

    def consider(self, network: nn.Module, epoch: int, accuracy: float | None) -> None:
        """Keep an epoch's weights if none was better."""
        if accuracy is None or accuracy >= self.accuracy:
            self.weights, self.epoch, self.accuracy = copy.deepcopy(network.state_dict()), epoch, accuracy or 0.0

    def state(self) -> dict[str, Any]:
        """As plain values and tensors."""
        return {"weights": dict(self.weights), "epoch": self.epoch, "accuracy": self.accuracy}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.weights, self.epoch, self.accuracy = state["weights"], state["epoch"], state["accuracy"]


def check_sets(train_set: ImageSet, validation_set: ImageSet | None) -> None:
    """Raise unless every class has two training images and, if there is a validation set, one in it."""
    _require_images(train_set, 2, "training")
    require_pixels(train_set.images)
    if validation_set is not None:
        if validation_set.classes != train_set.classes:
            raise DatasetError(
                f"expected the training set's classes {', '.join(train_set.classes)} in the validation set, "
                f"got {', '.join(validation_set.classes)}; read both with one list of classes"
            )
        _require_images(validation_set, 1, "validation")
        require_pixels(validation_set.images)


def _require_images(images: ImageSet, least: int, purpose: str) -> None:
    counts = images.labels.bincount(minlength=len(images.classes)).tolist()
    for name, count in zip(images.classes, counts, strict=True):
        if count < least:
            raise DatasetError(
                f"expected at least {least} {purpose} image(s) of class {name!r}, got {count}; "
                "add images or leave the class out"
            )


@torch.no_grad()
def _require_fit(network: nn.Module, images: ImageSet, device: torch.device) -> None:
    try:
        shape = tuple(network.eval()(images.images[:1].to(device)).shape)
    except RuntimeError:
        raise NetworkError(
            f"the network does not take images {tuple(images.images.shape[1:])} of {images.images.dtype}; "
            "build it for these channels and this size, and give float32 images"
        ) from None
    if shape != (1, len(images.classes)):
        raise NetworkError(
            f"expected {len(images.classes)} logits, one a class, got {shape[-1]}; "
            f"build the network with num_classes={len(images.classes)}"
        )


def class_weights(train_set: ImageSet, weights: tuple[float, ...] | Literal["balanced"] | None) -> Tensor:
    """Weight of each class in the loss, ``(K,)``; all one for ``None``."""
    count = len(train_set.classes)
    if weights is None:
        return torch.ones(count)
    if weights == "balanced":
        return len(train_set) / (count * train_set.labels.bincount(minlength=count).float())
    if len(weights) != count or min(weights) < 0 or sum(weights) == 0:
        raise SettingsError(f"expected {count} class weights >= 0, not all zero, got {list(weights)}")
    return torch.tensor(weights)


@torch.no_grad()
def accuracy_of(network: nn.Module, images: Tensor, labels: Tensor, *, autocast: bool = False) -> float:
    """Share of images ``(N, C, H, W)`` whose largest logit is their label's; the network is left in evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    right = 0
    for start in range(0, len(images), VALIDATION_BATCH):
        batch, truth = images[start : start + VALIDATION_BATCH], labels[start : start + VALIDATION_BATCH]
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            logits = network(batch.to(device))
        right += int((logits.argmax(dim=1) == truth.to(device)).sum())
    return right / len(images)


class _Epochs:
    """What the epochs of a run share: data on the device, optimizer, random state and the place in the schedule."""

    def __init__(
        self, network: nn.Module, images: Tensor, labels: Tensor, weight: Tensor, settings: TrainingSettings
    ) -> None:
        self.network, self.images, self.labels, self.weight, self.settings = network, images, labels, weight, settings
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
        """Where the run is: weights, optimizer, order of images to come, step."""
        return {
            "network": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "draws": self.generator.get_state(),
            "step": self.step,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["draws"])
        self.step = state["step"]

    def run_next(self) -> tuple[float, float]:
        """Train on every image once; return mean loss and accuracy over the epoch."""
        self.network.train()
        order = torch.randperm(len(self.images), generator=self.generator)
        total_loss, right = 0.0, 0
        for indices in order.tensor_split(self.batches):
            labels = self.labels[indices.to(self.labels.device)]
            logits, loss = self._learn(indices, labels)
            total_loss += loss.item() * len(indices)
            right += int((logits.argmax(dim=1) == labels).sum())
        if not math.isfinite(total_loss):
            raise NetworkError(
                f"training came apart: the loss is {total_loss} after {self.step} steps; lower the learning rate "
                f"(now {self.settings.peak_learning_rate})"
            )
        return total_loss / len(self.images), right / len(self.images)

    def _learn(self, indices: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        settings = self.settings
        batch = self.images[indices.to(self.images.device)]
        if settings.augmentation is not None:
            batch = shift_and_flip(batch, settings.augmentation, self.generator)
        batch = batch.contiguous(memory_format=torch.channels_last)
        rate = SCHEDULES[settings.schedule](self.step, self.batches * settings.epochs, settings.peak_learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=self.autocast):
            logits = self.network(batch)
        loss = functional.cross_entropy(logits.float(), labels, weight=self.weight)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        return logits.detach(), loss.detach()
