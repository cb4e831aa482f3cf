# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Several networks that answer together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """The mean of the members' log-probabilities; as logits, it means the normalized product of their probabilities.

    A perturbation that lowers the cross entropy of this product suits the members that are surest of it, not each one.
    The mean itself is not normalized. Training lowers the negative of its value for the true class
    (:func:`log_probabilities`), which is the mean cross entropy of the members: each learns by itself, and none can
    leave the task to the others.

    Args:
        members: Networks from images ``(N, C, H, W)`` to logits ``(N, K)``.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to mean log-probabilities ``(N, K)``."""
        answers = [member(images).float().log_softmax(dim=1) for member in self.members]
        return torch.stack(answers).mean(dim=0)


def log_probabilities(network: nn.Module, logits: Tensor) -> Tensor:
    """What training a network raises for the true class: log-probabilities, of an ensemble the mean of its members'.

    Args:
        network: From :func:`monai_advenc.networks.get_network`, or any other.
        logits: What it answered, ``(N, K)``.
    """
    last = network[-1] if isinstance(network, nn.Sequential) and len(network) else network
    return logits if isinstance(last, Ensemble) else logits.log_softmax(dim=1)
