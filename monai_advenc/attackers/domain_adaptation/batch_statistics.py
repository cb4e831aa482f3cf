# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Adaptive batch normalization (AdaBN; Li et al., 2017, arXiv 1603.04779): weights and statistics of two domains."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from monai_advenc.attackers.domain_adaptation.task import AdaptationTask, untrained_network
from monai_advenc.networks.training import train
from monai_advenc.networks.training.train import VALIDATION_BATCH


def batch_statistics(task: AdaptationTask) -> nn.Module:
    """Train on the source, then set every batch norm to the target's mean and variance.

    Args:
        task: Data and training settings.

    Returns:
        The network of the last epoch with the target's statistics, in evaluation mode; ``task.observe`` gets the same
        for each epoch.
    """
    seed = task.settings.seed

    def observe(network: nn.Module) -> None:
        task.observe(with_statistics_of(network, task.target, seed=seed))

    trained = train(untrained_network(task), task.source, None, task.settings, observe=observe).network
    return with_statistics_of(trained, task.target, seed=seed)


@torch.no_grad()
def with_statistics_of(network: nn.Module, images: Tensor, *, seed: int = 0) -> nn.Module:
    """Copy ``network`` with the batch norm statistics of ``images``, averaged over random batches.

    Args:
        network: With or without batch norm; not changed.
        images: ``(M, C, H, W)`` in [0, 1], at least two.
        seed: Seed of the random batches.

    Returns:
        The copy, in evaluation mode.
    """
    adapted = copy.deepcopy(network).eval()
    norms = [module for module in adapted.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # For torch, None means the plain average of all batches.
        norm.train()
    device = next(adapted.parameters()).device
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    for indices in order.tensor_split(-(-len(images) // VALIDATION_BATCH)):
        adapted(images[indices.to(images.device)].to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return adapted.eval()
