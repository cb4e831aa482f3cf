# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train a base network of the error-minimizing family on images that are perturbed in turn with it.

After Huang et al. 2021 (arXiv 2101.04898): epochs of training on the current images alternate with steps that lower the
loss of each image's own class, inside a ball around the original. The perturbation becomes easier to learn than what
the images show, and the network ends up relying on it. Frozen, it perturbs any image of these classes, alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.networks.training.checkpoint import Notes
from monai_advenc.networks.training.train import accuracy_of
from monai_advenc.perturbation.batches import perturb_in_batches, versions_per_pass
from monai_advenc.perturbation.settings import PerturbationSettings

Freedom = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""From images ``(N, C, H, W)`` to binary masks ``(N, 1, H, W)`` of the pixels that may change, and the share of the
radius of each image, ``(N,)``; ``None``: all of it."""

STEPS_PER_EPOCH = 6
"""Perturbation steps of each image after an epoch."""

STEPS_AT_THE_END = 16
"""Steps with which images kept aside are perturbed, to measure the accuracy on them."""


class PerturbedImages:
    """Training images that follow the network: perturbed after each epoch.

    Args:
        originals: The training images.
        perturbation: Norm, radius, reference side and views; the number and length of steps are chosen here.
        seed: Seed of the random views.
        freedom: Which pixels may change; ``None``: all.
    """

    def __init__(
        self, originals: ImageSet, perturbation: PerturbationSettings, seed: int, freedom: Freedom | None = None
    ) -> None:
        self.originals, self.perturbation, self.seed, self.freedom = originals, perturbation, seed, freedom
        self._limits = _limits(originals.images, freedom)

    def after(self, epoch: int, network: nn.Module, images: Tensor) -> Tensor:
        """Move the images ``(N, C, H, W)`` of an epoch on, inside the ball around their originals."""
        seed = 1_000_003 * self.seed + epoch
        return self._perturb(network, self.originals, self._limits, STEPS_PER_EPOCH, 1.0, seed, images)

    def accuracy_on_perturbed(self, network: nn.Module, images: ImageSet) -> float:
        """Accuracy of a network on other images that it has perturbed: what its training is for."""
        limits = _limits(images.images, self.freedom)
        perturbed = self._perturb(network, images, limits, STEPS_AT_THE_END, 2.5, self.seed)
        return accuracy_of(network, perturbed, images.labels)

    def notes(self) -> Notes:
        """What a checkpoint keeps of the family and its radius."""
        side = self.perturbation.reference_side or 0
        settings = self.perturbation
        return {"family": "error-minimizing", "norm": settings.norm, "radius": settings.radius, "radius_at": side}

    def _perturb(
        self,
        network: nn.Module,
        images: ImageSet,
        limits: tuple[Tensor | None, Tensor | None],
        steps: int,
        reach: float,
        seed: int,
        start: Tensor | None = None,
    ) -> Tensor:
        """Move images toward their own classes by steps of one length, ``reach`` radii in all."""
        changes = {"steps": steps, "step_size": reach * self.perturbation.radius / steps, "schedule": "paper"}
        settings = self.perturbation.model_copy(update=changes)
        seeds = torch.randint(2**62, (len(images),), generator=torch.Generator().manual_seed(seed)).tolist()
        device = next(network.parameters()).device
        regions, scales = (None if each is None else each.to(device) for each in limits)
        _, channels, height, width = images.images.shape
        prepared = prepare(network, (channels, height, width), steps=steps)
        return perturb_in_batches(
            prepared,
            images.images.to(device),
            images.labels.to(device),
            settings,
            batch_size=versions_per_pass(prepared, (channels, height, width)),
            seeds=None if settings.augmentation is None else seeds,
            regions=regions,
            scales=scales,
            start=start,
        )


def _limits(images: Tensor, freedom: Freedom | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if freedom is None else freedom(images)
