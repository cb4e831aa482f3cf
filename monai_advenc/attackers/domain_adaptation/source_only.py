# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train on the source without adaptation: the baseline of the other adapters."""

from __future__ import annotations

from torch import nn

from monai_advenc.attackers.domain_adaptation.task import AdaptationTask, untrained_network
from monai_advenc.networks.training import train


def source_only(task: AdaptationTask) -> nn.Module:
    """Train on the source images only.

    Args:
        task: Data and training settings; target images are not used.

    Returns:
        The network of the last epoch, in evaluation mode.
    """
    return train(untrained_network(task), task.source, None, task.settings, observe=task.observe).network
