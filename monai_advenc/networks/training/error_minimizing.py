# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train a base network of the error-minimizing family on images that are perturbed in turn with it.

After Huang et al. 2021 (arXiv 2101.04898): epochs of training on the current images alternate with steps that lower the
loss of each image's own class, inside a ball around the original. The perturbation becomes easier to learn than what
the images show, and the network ends up relying on it. Frozen, it perturbs any image of these classes, alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.networks.training.checkpoint import Notes
from monai_advenc.networks.training.train import accuracy_of
from monai_advenc.perturbation.batches import perturb_in_batches, versions_per_pass
from monai_advenc.perturbation.settings import PerturbationSettings

STEPS_PER_EPOCH = 6
"""Perturbation steps of each image after an epoch."""

STEPS_AT_THE_END = 16
"""Steps with which images kept aside are perturbed, to measure the accuracy on them."""


@dataclass(frozen=True)
class PerturbedImages:
    """Training images that follow the network: perturbed after each epoch.

    Attributes:
        originals: The training images.
        perturbation: Norm, radius, reference side and views; the number and length of steps are chosen here.
        seed: Seed of the random views.
    """

    originals: ImageSet
    perturbation: PerturbationSettings
    seed: int

    def after(self, epoch: int, network: nn.Module, images: Tensor) -> Tensor:
        """Move the images ``(N, C, H, W)`` of an epoch on, inside the ball around their originals."""
        return perturb_toward_own_class(
            network,
            self.originals,
            self.perturbation,
            steps=STEPS_PER_EPOCH,
            reach=1.0,
            seed=1_000_003 * self.seed + epoch,
            start=images,
        )

    def notes(self) -> Notes:
        """What a checkpoint keeps of the family and its radius."""
        side = self.perturbation.reference_side or 0
        settings = self.perturbation
        return {"family": "error-minimizing", "norm": settings.norm, "radius": settings.radius, "radius_at": side}


def perturb_toward_own_class(
    network: nn.Module,
    images: ImageSet,
    perturbation: PerturbationSettings,
    *,
    steps: int,
    reach: float,
    seed: int,
    start: Tensor | None = None,
) -> Tensor:
    """Perturb each image toward its own class by steps of one length.

    Args:
        network: In evaluation mode.
        images: Originals and their classes.
        perturbation: Norm, radius, reference side and views.
        steps: Number of steps.
        reach: Length of all steps together, in radii.
        seed: Seed of the views.
        start: Where to begin, ``(N, C, H, W)`` inside the ball; ``None``: at the originals.

    Returns:
        Perturbed images ``(N, C, H, W)`` on the network's device.
    """
    changes = {"steps": steps, "step_size": reach * perturbation.radius / steps, "schedule": "paper"}
    settings = perturbation.model_copy(update=changes)
    generator = torch.Generator().manual_seed(seed)
    seeds = torch.randint(2**62, (len(images),), generator=generator).tolist()
    _, channels, height, width = images.images.shape
    device = next(network.parameters()).device
    prepared = prepare(network, (channels, height, width), steps=steps)
    return perturb_in_batches(
        prepared,
        images.images.to(device),
        images.labels.to(device),
        settings,
        batch_size=versions_per_pass(prepared, (channels, height, width)),
        seeds=None if settings.augmentation is None else seeds,
        start=start,
    )


def accuracy_on_perturbed(network: nn.Module, images: ImageSet, like: PerturbedImages) -> float:
    """Accuracy of a network on other images that it has perturbed toward their own class: what its training is for."""
    perturbed = perturb_toward_own_class(
        network, images, like.perturbation, steps=STEPS_AT_THE_END, reach=2.5, seed=like.seed
    )
    return accuracy_of(network, perturbed, images.labels)
