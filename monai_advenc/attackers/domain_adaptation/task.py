# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Data and settings of a domain adaptation attack, and code shared by all adapters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import DatasetError
from monai_advenc.networks import get_network, with_standardization
from monai_advenc.networks.training import TrainingSettings
from monai_advenc.networks.training.checks import check_sets
from monai_advenc.perturbation.pgd import require_pixels


@dataclass(frozen=True, kw_only=True)
class AdaptationTask:
    """Labeled images of one domain, unlabeled images of another, and training settings; never a test label.

    Attributes:
        network: A name in :data:`monai_advenc.networks.NETWORKS`.
        source: Labeled encrypted images, at least two per class.
        target: Unlabeled original images ``(M, C, H, W)`` of the source's shape, float32 in [0, 1], at least two.
        settings: Training settings; the seed also decides the initial weights, an epoch is one pass through the source.
        device: Device to train on.
        observe: Called after each epoch with the network in evaluation mode, which it must not change.

    Raises:
        DatasetError: Source and target do not fit together, or there are too few images.
        ImageError: Images hold NaN or values outside [0, 1].
    """

    network: str
    source: ImageSet
    target: Tensor
    settings: TrainingSettings
    device: str = "cpu"
    observe: Callable[[nn.Module], None] = lambda _: None

    def __post_init__(self) -> None:
        images = self.source.images
        if images.ndim != 4 or images.shape[1:] != self.target.shape[1:]:
            raise DatasetError(
                f"expected source and target images of one shape (C, H, W), got {tuple(images.shape[1:])} and "
                f"{tuple(self.target.shape[1:])}; read both with the same channels and size"
            )
        if not images.dtype == self.target.dtype == torch.float32:
            raise DatasetError(
                f"expected float32 images, got {images.dtype} and {self.target.dtype}; scale them to [0, 1] first"
            )
        if len(self.target) < 2:
            raise DatasetError(f"expected at least 2 target images, got {len(self.target)}; add some")
        check_sets(self.source, None)
        require_pixels(self.target)


Adapter = Callable[[AdaptationTask], nn.Module]
"""Trains a network for the target domain; the result, in evaluation mode, maps images in [0, 1] to logits.

The same task gives the same weights on the same kind of processor with the same thread count, and the caller's random
state is kept. Raises :class:`monai_advenc.errors.NetworkError` if training diverges."""


def untrained_network(task: AdaptationTask) -> nn.Module:
    """Build the task's network with new weights on its device; its first layer standardizes the source images."""
    images = task.source.images
    network = get_network(
        task.network, len(task.source.classes), images.shape[1], max(images.shape[-2:]), seed=task.settings.seed
    )
    if task.settings.standardize:
        network = with_standardization(network, images)
    return network.to(task.device)


def autocast(task: AdaptationTask) -> torch.autocast:
    """Context for bf16 arithmetic, if the task's settings and device allow it."""
    device = torch.device(task.device)
    return torch.autocast(device.type, torch.bfloat16, enabled=task.settings.in_bf16_on(device))
