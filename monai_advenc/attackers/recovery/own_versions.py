# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Perturb the attacker's own images toward every class, once each, with the attacker's network (M2)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.workers import map_in_workers


class OwnVersions:
    """Versions of the attacker's images by class and target, made on first use and then kept.

    All guesses are composed from these versions, so each image is perturbed toward each class at most once.

    Args:
        network: M2, the attacker's network, trained on original images.
        images: The attacker's labeled original images.
        settings: The attacker's assumption about the owner's settings. For augmentation-aware steps, the kinds of views
            are public; the attacker draws own views, because the owner's would not help.
        batch_size: Images that go through the network together.
        workers: Worker processes; 0 works in this process (always so on a GPU).
        seed: Seed of the views of augmentation-aware steps.
    """

    def __init__(
        self,
        network: nn.Module,
        images: ImageSet,
        settings: PerturbationSettings,
        *,
        batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        channels, height, width = images.images.shape[1:]
        self._network = prepare(network, (channels, height, width), steps=settings.steps)
        self._settings = settings
        self._batch_size = batch_size
        self._seed = seed
        self._device = next(network.parameters()).device
        self._workers = 0 if self._device.type != "cpu" else workers
        self._originals = [images.images[images.labels == label] for label in range(len(images.classes))]
        self._versions: dict[tuple[int, int], Tensor] = {}
        self.perturbed = 0
        """Number of images perturbed so far, counted once per target."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self._originals)

    def originals_of(self, label: int) -> Tensor:
        """The unperturbed images ``(N, C, H, W)`` of a class."""
        return self._originals[label]

    def toward(self, label: int, target: int) -> Tensor:
        """The images of a class, perturbed toward a target class; ``(N, C, H, W)``."""
        if (label, target) not in self._versions:
            self.make([(label, target)])
        return self._versions[label, target]

    def make(self, pairs: Sequence[tuple[int, int]], *, progress: Callable[[int], None] = lambda _: None) -> None:
        """Perturb toward several targets at once, in parallel if there are workers.

        Args:
            pairs: Classes and targets; existing ones cost nothing.
            progress: Called with 1 for each missing pair.
        """
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._versions]
        made = map_in_workers(self._perturb_pair, missing, self._workers)
        for pair, versions in zip(missing, made, strict=True):
            self._versions[pair] = versions
            self.perturbed += len(versions)
            progress(1)

    def _perturb_pair(self, pair: tuple[int, int]) -> Tensor:
        """Perturb the images of a class toward a target, without keeping them."""
        label, target = pair
        parts = []
        # Separate views for each image and target, independent of the distribution of the work.
        dice = random.Random(f"{self._seed} {label} {target}")
        for batch in self._originals[label].split(self._batch_size):
            targets = torch.full((len(batch),), target, device=self._device)
            seeds = [dice.getrandbits(63) for _ in batch] if self._settings.augmentation is not None else None
            images = batch.to(self._device)
            parts.append(perturb(self._network, images, targets, self._settings, seeds=seeds).cpu())
        return torch.cat(parts)
