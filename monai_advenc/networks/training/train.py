# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train a classifier on CPU or GPU: the base network or a victim."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.memory import memory_for
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import SettingsError
from monai_advenc.networks.normalize import with_standardization
from monai_advenc.networks.training.checks import check_sets, require_fit
from monai_advenc.networks.training.class_weights import class_weights
from monai_advenc.networks.training.epochs import Epochs, Lesson
from monai_advenc.networks.training.reproducibility import reproducible
from monai_advenc.networks.training.settings import TrainingSettings
from monai_advenc.networks.training.unfinished import UnfinishedTraining

VALIDATION_BATCH = 256
"""Images per forward pass without gradients."""


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """Result of one epoch: accuracies as fractions (training accuracy on augmented images), and the observation."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_accuracy: float | None
    observed: Mapping[str, float] = field(default_factory=dict)


class Renewal(Protocol):
    """Makes the training images of each epoch but the first."""

    def after(self, epoch: int, network: nn.Module, images: Tensor) -> Tensor:
        """Make the images ``(N, C, H, W)`` of the next epoch; depends on the arguments only.

        Args:
            epoch: Number of epochs done, from 1.
            network: The network in evaluation mode as it is after them.
            images: The images of the epoch just done.
        """

    def notes(self) -> Mapping[str, str | int | float | bool]:
        """What tells it from others: an interrupted training continues only with an equal one."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A trained network and its training history.

    Attributes:
        network: In evaluation mode; from the best epoch by validation (the later on ties), else from the last.
        history: One record per epoch.
        best_epoch: The epoch of ``network``, counted from 1.
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
    renewal: Renewal | None = None,
    unfinished: Path | None = None,
    lesson: Lesson | None = None,
) -> TrainingResult:
    """Train a copy of ``network`` by SGD with Nesterov momentum, one learning rate cycle and cross entropy.

    The same arguments give the same weights, bit for bit, on the same kind of processor with the same thread count.

    Args:
        network: Maps images in [0, 1] to logits; not changed. Training runs on its device.
        train_set: At least two images per class.
        validation_set: Selects the best epoch's network; ``None`` keeps the last.
        settings: Training settings.
        progress: Called after each epoch.
        observe: Called after each epoch with the network in evaluation mode, which it must not change; the result is
            kept in the epoch's record.
        renewal: Makes the training images of each epoch but the first from the network.
        unfinished: File for the state after each epoch: an interrupted training continues from it and ends with the
            same weights. The file is removed at the end.
        lesson: Replaces the cross entropy of a batch, and with it class weights; not with ``unfinished``, which cannot
            tell lessons apart.

    Returns:
        The trained network in evaluation mode, and the record of each epoch.

    Raises:
        DatasetError: A class has too few images, or the sets do not fit together.
        DeviceMemoryError: The memory of the GPU is too small.
        ImageError: Images hold NaN or values outside [0, 1].
        NetworkError: The network does not fit the images, or training diverged.
        OutputError: ``unfinished`` is of another training or cannot be written.
        SettingsError: The number of class weights differs from the number of classes, or ``lesson`` is given with
            ``unfinished``.
    """
    if lesson is not None and unfinished is not None:
        raise SettingsError("expected lesson or unfinished, got both; leave one out")
    check_sets(train_set, validation_set)
    sets = [train_set] if validation_set is None else [train_set, validation_set]
    kept = UnfinishedTraining(unfinished, network, sets, settings, {} if renewal is None else renewal.notes())
    network = with_standardization(network, train_set.images) if settings.standardize else copy.deepcopy(network)
    device = next(network.parameters()).device
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's annotations
    weight = class_weights(train_set, settings.class_weights)
    enough = memory_for(f"training on {len(train_set)} images in batches of {settings.batch_size}", "train on fewer")
    history: list[EpochRecord] = []
    with reproducible(settings.seed, device), enough:
        require_fit(network, train_set, device)
        pixels, labels = train_set.images.to(device), train_set.labels.to(device)
        epochs = Epochs(network, pixels, labels, weight.to(device), settings, lesson)
        best = _Best(network.state_dict())
        if kept.state is not None:
            history = [EpochRecord(**record) for record in kept.state["history"]]
            epochs.load(kept.state["epochs"])
            best = _Best(**kept.state["best"])
            if renewal is not None:
                epochs.images = kept.state["images"].to(device)
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
            if renewal is not None and epoch < settings.epochs:
                epochs.images = renewal.after(epoch, network.eval(), epochs.images)
            changed = {} if renewal is None else {"images": epochs.images.cpu()}
            records = [asdict(each) for each in history]
            kept.save({"history": records, "epochs": epochs.state(), "best": vars(best), **changed})
    network.load_state_dict(best.weights)
    kept.remove()
    return TrainingResult(network=network.eval(), history=history, best_epoch=best.epoch)


@dataclass
class _Best:
    """Weights of the best epoch by validation, the later on ties; without validation those of the last epoch."""

    weights: Mapping[str, Tensor]
    epoch: int = 0
    accuracy: float = -1.0

    def consider(self, network: nn.Module, epoch: int, accuracy: float | None) -> None:
        """Keep an epoch's weights if no earlier epoch was better."""
        if accuracy is None or accuracy >= self.accuracy:
            self.weights, self.epoch, self.accuracy = copy.deepcopy(network.state_dict()), epoch, accuracy or 0.0


@torch.no_grad()
def accuracy_of(network: nn.Module, images: Tensor, labels: Tensor, *, autocast: bool = False) -> float:
    """Accuracy on images ``(N, C, H, W)``; the network is set to evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    hits = []
    for start in range(0, len(images), VALIDATION_BATCH):
        batch, truth = images[start : start + VALIDATION_BATCH], labels[start : start + VALIDATION_BATCH]
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            logits = network(batch.to(device))
        hits.append((logits.argmax(dim=1) == truth.to(device)).sum())
    return int(torch.stack(hits).sum()) / len(images)
