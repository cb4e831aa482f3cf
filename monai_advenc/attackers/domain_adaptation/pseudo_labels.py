# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Pseudo labels (after Lee, 2013): train also on the network's own confident predictions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monai_advenc.attackers.domain_adaptation.task import AdaptationTask, untrained_network
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.networks.training import train
from monai_advenc.networks.training.train import VALIDATION_BATCH

ROUNDS = 3
"""Number of trainings: the first on the source only, each later one also on confident predictions of the previous."""

CONFIDENCE = 0.9
"""Target images whose most probable class has at least this probability get its label."""


def pseudo_labels(task: AdaptationTask) -> nn.Module:
    """Train on the source, label the target with the result, and retrain on both, a few times.

    Args:
        task: Data and training settings; every round uses all epochs.

    Returns:
        The network of the last round, in evaluation mode.
    """
    untrained = untrained_network(task)
    # The first layer keeps the source's standardization in all rounds.
    settings = task.settings.model_copy(update={"standardize": False})

    def trained_on(train_set: ImageSet) -> nn.Module:
        return train(untrained, train_set, None, settings, observe=task.observe).network

    network = trained_on(task.source)
    for _ in range(ROUNDS - 1):
        network = trained_on(_joined(task.source, task.target, _probabilities(network, task.target)))
    return network


@torch.no_grad()
def _probabilities(network: nn.Module, images: Tensor) -> Tensor:
    device = next(network.parameters()).device
    logits = [network(batch.to(device)).cpu() for batch in images.split(VALIDATION_BATCH)]
    return torch.cat(logits).softmax(dim=1)


def _joined(source: ImageSet, target: Tensor, probabilities: Tensor) -> ImageSet:
    """Join the source and the target images with a confident class."""
    confidence, labels = probabilities.max(dim=1)
    rows = (confidence >= CONFIDENCE).nonzero().flatten()
    return ImageSet(
        torch.cat([source.images, target[rows]]),
        torch.cat([source.labels, labels[rows]]),
        (*source.ids, *(f"target {row}" for row in rows.tolist())),
        source.classes,
    )
