# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train a base network of the error-minimizing family on images that are perturbed in turn with it.

After Huang et al. 2021 (arXiv 2101.04898): epochs of training on the current images alternate with steps that lower the
loss of each image's own class, inside a ball around the original. The perturbation becomes easier to learn than what
the images show, and the network ends up relying on it. Frozen, it perturbs any image of these classes, alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import SettingsError
from monai_advenc.networks.training.checkpoint import Notes
from monai_advenc.networks.training.train import accuracy_of
from monai_advenc.perturbation.batch_size import versions_per_pass
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.perturbation.settings import PerturbationSettings


class Freedom(Protocol):
    """Which pixels of images may change; :class:`monai_advenc.encryption.radius.Freedom` is one."""

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Masks ``(N, 1, H, W)`` of images ``(N, C, H, W)``; their shares of the radius, ``(N,)``, or ``None``."""

    def notes(self) -> Mapping[str, str | bool]:
        """What tells it from others."""


PERTURBED_ACCURACY = "perturbed_accuracy"
"""Name of the accuracy on perturbed images kept aside in an epoch's record."""

STEPS_PER_EPOCH = 6
"""Perturbation steps of each image after an epoch."""

DRAWN_STEPS_PER_EPOCH = 4
"""The same where classes are drawn. Fresh networks learned less of a perturbation that 66 steps in all had shaped than
of one by 28; one trial of each (``docs/strength.md``)."""


class PerturbedImages:
    """Training images that follow the network: perturbed after each epoch. Train on :attr:`originals`.

    Args:
        originals: The training images.
        kept_aside: Images to measure the network on.
        perturbation: Norm, radius, reference side and views; the number and length of steps are chosen here.
        seed: Seed of the random views.
        freedom: Which pixels may change; ``None``: all.
        drawn_classes: Whether each training image plays a class drawn at random, so that the perturbation which
            comes to mean a class has nothing of that class's images.

    Raises:
        ImageError: An image has no region; said before any training.
        SettingsError: The perturbation depends on noise, and no ``freedom`` says how much each image may change.
    """

    def __init__(
        self,
        originals: ImageSet,
        kept_aside: ImageSet | None,
        perturbation: PerturbationSettings,
        seed: int,
        freedom: Freedom | None = None,
        *,
        drawn_classes: bool = False,
    ) -> None:
        if perturbation.noise is not None and freedom is None:
            raise SettingsError("a radius by noise needs to know how much each image may change; give freedom")
        self.originals = with_drawn_classes(originals, seed) if drawn_classes else originals
        self.kept_aside, self.perturbation, self.seed, self.freedom = kept_aside, perturbation, seed, freedom
        self.drawn_classes = drawn_classes
        self._steps = DRAWN_STEPS_PER_EPOCH if drawn_classes else STEPS_PER_EPOCH
        self._limits = _limits(originals, freedom)
        self._limits_aside = None if kept_aside is None else _limits(kept_aside, freedom)

    def after(self, epoch: int, network: nn.Module, images: Tensor) -> Tensor:
        """Move the images ``(N, C, H, W)`` of an epoch on, inside the ball around their originals."""
        seed = 1_000_003 * self.seed + epoch
        return self._perturb(network, self.originals, self._limits, self._steps, 1.0, seed, images)

    def observe(self, network: nn.Module) -> dict[str, float]:
        """Measure the accuracy on images kept aside once the network has perturbed them: what its training is for."""
        if self.kept_aside is None or self._limits_aside is None:
            return {}
        perturbed = self._perturb(network, self.kept_aside, self._limits_aside, STEPS_PER_EPOCH, 2.5, self.seed)
        return {PERTURBED_ACCURACY: accuracy_of(network, perturbed, self.kept_aside.labels)}

    def notes(self) -> Notes:
        """What a checkpoint keeps: the family, its radius, views and grain, and which pixels may change."""
        settings = self.perturbation
        views = "none" if settings.augmentation is None else settings.augmentation.model_dump_json()
        side = settings.reference_side or 0
        free: Notes = {"region": "all", "full_radius": False} if self.freedom is None else self.freedom.notes()
        ball: Notes = {"norm": settings.norm, "radius": settings.radius, "radius_at": side, "views": views}
        noise: Notes = {} if settings.noise is None else {"noise": settings.noise}
        grain: Notes = {} if settings.grain is None else settings.grain.notes()
        drawn: Notes = {"drawn_classes": True} if self.drawn_classes else {}
        return {"family": "error-minimizing", **ball, **noise, **grain, **drawn, **free}

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
        length = reach * self.perturbation.radius / steps
        changes = {"steps": steps, "step_size": length, "schedule": "paper", "whole_radius": False}
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


def with_drawn_classes(images: ImageSet, seed: int) -> ImageSet:
    """The same images, each with a class drawn at random; every class about as often as every other."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return replace(images, labels=order % len(images.classes))


def _limits(images: ImageSet, freedom: Freedom | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if freedom is None else freedom(images.images)
