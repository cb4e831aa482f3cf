# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Deep CORAL (Sun and Saenko, 2016, arXiv 1607.01719): train features with equal covariance in both domains."""

from __future__ import annotations

from torch import Tensor, nn

from monai_advenc.attackers.domain_adaptation.paired_training import train_with_alignment
from monai_advenc.attackers.domain_adaptation.task import AdaptationTask, untrained_network
from monai_advenc.networks.training.reproducibility import reproducible

WEIGHT = 100.0
"""Weight of the distance relative to the classification loss. By the paper's rule both end at similar values; its 1 is
for logits, whose covariances are much larger than those of features."""


def coral(task: AdaptationTask) -> nn.Module:
    """Train on the source and minimize the distance between the covariances of both domains' features.

    Args:
        task: Data and training settings.

    Returns:
        The network of the last epoch, in evaluation mode.
    """
    with reproducible(task.settings.seed, task.device):
        return train_with_alignment(
            task, untrained_network(task), lambda _, features: WEIGHT * covariance_distance(*features.chunk(2))
        )


def covariance_distance(source: Tensor, target: Tensor) -> Tensor:
    """Equation 1 of the paper: squared Frobenius distance of the covariances over four times the squared dimension.

    Args:
        source: Features ``(N, D)``, N at least 2.
        target: Features ``(M, D)``, M at least 2.

    Returns:
        A scalar.
    """
    return (source.T.cov() - target.T.cov()).square().mean() / 4
