# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Domain-adversarial training (DANN; Ganin et al., 2016, arXiv 1505.07818): train features that hide their domain."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.attackers.domain_adaptation.paired_training import PairedBatch, train_with_alignment
from monai_advenc.attackers.domain_adaptation.task import AdaptationTask, untrained_network
from monai_advenc.networks.features import last_linear
from monai_advenc.networks.training.reproducibility import reproducible

RAMP = 10.0
"""Growth rate of the reversed gradient (section 5.2.2, gamma)."""

HIDDEN_UNITS = 100
"""Width of the domain classifier (section 5.2.2's smallest network)."""


def domain_adversarial(task: AdaptationTask) -> nn.Module:
    """Train on the source against a domain classifier: the features learn to mislead it.

    Args:
        task: Data and training settings.

    Returns:
        The network of the last epoch, in evaluation mode.
    """
    with reproducible(task.settings.seed, task.device):
        network = untrained_network(task)
        domains = nn.Sequential(
            nn.Linear(last_linear(network).in_features, HIDDEN_UNITS), nn.ReLU(), nn.Linear(HIDDEN_UNITS, 1)
        ).to(task.device)

        def confusion(batch: PairedBatch, features: Tensor) -> Tensor:
            guesses = domains(with_reversed_gradient(features, strength(batch.step / batch.steps))).flatten()
            is_source = torch.zeros_like(guesses)
            is_source[: len(batch.labels)] = 1
            return functional.binary_cross_entropy_with_logits(guesses, is_source)

        return train_with_alignment(task, network, confusion, domains)


def strength(progress: float) -> float:
    """Factor of the reversed gradient by the share of the run, from 0 toward 1 (section 5.2.2, lambda)."""
    return 2 / (1 + math.exp(-RAMP * progress)) - 1


def with_reversed_gradient(features: Tensor, strength: float) -> Tensor:
    """Return ``features``, up to rounding, with their gradient multiplied by ``-strength``."""
    return features.detach() * (1 + strength) - features * strength
