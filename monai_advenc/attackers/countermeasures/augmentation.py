# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Augmentation against perturbations: cutout, CutMix, mixup, strong random views, the hardest of several (UEraser)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.attackers.countermeasures.attacker import Attacker, Resources, learn
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.networks.training.epochs import Lesson

_BENCH: Final = "APBench, arXiv 2308.03258"


@dataclass(frozen=True)
class Cutout:
    """Blacken a square at a random place of each image (DeVries and Taylor 2017).

    Attributes:
        share: Its side as a share of the image's.
    """

    share: float = 0.5

    def __call__(
        self, network: nn.Module, images: Tensor, labels: Tensor, draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy of the images with holes."""
        return _learned(network, self.changed(images, draws), labels)

    def changed(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """Images ``(N, C, H, W)`` with holes; a hole may reach over the border."""
        count, _, height, width = images.shape
        side = round(self.share * min(height, width))
        top = torch.randint(-side // 2, height - side // 2, (count, 1), generator=draws)
        left = torch.randint(-side // 2, width - side // 2, (count, 1), generator=draws)
        rows, columns = torch.arange(height), torch.arange(width)
        hole = ((rows >= top) & (rows < top + side))[:, :, None] & ((columns >= left) & (columns < left + side))[
            :, None
        ]
        return images * ~hole[:, None].to(images.device)


@dataclass(frozen=True)
class Mixup:
    """Blend each image and its label with another of the batch (Zhang et al. 2018)."""

    def __call__(
        self, network: nn.Module, images: Tensor, labels: Tensor, draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy toward both labels, by their shares."""
        share, order = float(torch.rand(1, generator=draws)), _shuffled(images, draws)
        logits = network(share * images + (1 - share) * images[order])
        return logits, _blended(logits, labels, labels[order], share)


@dataclass(frozen=True)
class CutMix:
    """Paste a rectangle of another image of the batch, and blend the labels by area (Yun et al. 2019)."""

    def __call__(
        self, network: nn.Module, images: Tensor, labels: Tensor, draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy toward both labels, by their areas."""
        order = _shuffled(images, draws)
        mixed, share = self.changed(images, images[order], draws)
        logits = network(mixed)
        return logits, _blended(logits, labels, labels[order], share)

    def changed(self, images: Tensor, others: Tensor, draws: torch.Generator) -> tuple[Tensor, float]:
        """Paste one rectangle of ``others`` into all ``images``; return what share of the area is left."""
        height, width = images.shape[-2:]
        part = math.sqrt(float(torch.rand(1, generator=draws)))
        tall, wide = round(part * height), round(part * width)
        top = int(torch.randint(0, height - tall + 1, (1,), generator=draws))
        left = int(torch.randint(0, width - wide + 1, (1,), generator=draws))
        mixed = images.clone()
        mixed[..., top : top + tall, left : left + wide] = others[..., top : top + tall, left : left + wide]
        return mixed, 1 - tall * wide / (height * width)


@dataclass(frozen=True)
class StrongViews:
    """Show a random part of each image, resized to the whole, flipped, brighter or darker, steeper or flatter.

    Attributes:
        least_area: Smallest part of the area.
        jitter: Largest relative change of brightness and contrast.
    """

    least_area: float = 0.2
    jitter: float = 0.4

    def __call__(
        self, network: nn.Module, images: Tensor, labels: Tensor, draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy of the views."""
        return _learned(network, self.changed(images, draws), labels)

    def changed(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """Views of images ``(N, C, H, W)``, of the same shape."""
        count = len(images)
        scale = (self.least_area + (1 - self.least_area) * torch.rand(count, 1, generator=draws)).sqrt()
        aspect = (torch.rand(count, 1, generator=draws) * math.log(16 / 9) - math.log(4 / 3)).exp().sqrt()
        sides = torch.cat([scale * aspect, scale / aspect], dim=1).clamp_max(1)
        centers = (2 * torch.rand(count, 2, generator=draws) - 1) * (1 - sides)
        mirrored = torch.where(torch.rand(count, generator=draws) < 0.5, -1.0, 1.0)
        placed = torch.zeros(count, 2, 3)
        placed[:, 0, 0], placed[:, 1, 1], placed[:, :, 2] = sides[:, 0] * mirrored, sides[:, 1], centers
        grid = functional.affine_grid(placed.to(images.device), list(images.shape), align_corners=False)
        views = functional.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)
        factors = 1 + self.jitter * (2 * torch.rand(count, 2, 1, 1, 1, generator=draws) - 1).to(views)
        means = views.mean(dim=(1, 2, 3), keepdim=True)
        return ((means + factors[:, 0] * (views - means)) * factors[:, 1]).clamp(0, 1)


@dataclass(frozen=True)
class Hardest:
    """Learn the hardest of several strong changes of each image: UEraser (Qin et al. 2023) for gray images.

    Brightness and contrast follow random clouds; channels are not exchanged.

    Attributes:
        tries: Number of changes to choose from.
        intensity: Largest change of brightness.
    """

    tries: int = 5
    intensity: float = 0.2

    def __call__(
        self, network: nn.Module, images: Tensor, labels: Tensor, draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy of the hardest change of each image."""
        return _learned(network, self.changed(network, images, labels, draws), labels)

    @torch.no_grad()
    def changed(self, network: nn.Module, images: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        """The change of each image ``(N, C, H, W)`` for which the loss is largest."""
        tried = torch.stack([self._one(images, draws) for _ in range(self.tries)])
        losses = torch.stack(
            [functional.cross_entropy(network(each).float(), labels, reduction="none") for each in tried]
        )
        return tried[losses.argmax(dim=0), torch.arange(len(images), device=images.device)]

    def _one(self, images: Tensor, draws: torch.Generator) -> Tensor:
        views = StrongViews(least_area=0.5, jitter=0.3).changed(images, draws)
        brightness = self.intensity * (2 * clouds(images, draws) - 1)
        contrast = 0.5 + clouds(images, draws)
        means = views.mean(dim=(1, 2, 3), keepdim=True)
        return (means + contrast * (views - means) + brightness).clamp(0, 1)


def clouds(images: Tensor, draws: torch.Generator, roughness: float = 0.5) -> Tensor:
    """Random smooth fields in [0, 1] for images ``(N, C, H, W)``: noise of several scales, ``(N, 1, H, W)``."""
    count, _, height, width = images.shape
    total, weight = torch.zeros(count, 1, height, width), 1.0
    for side in (2, 4, 8, 16):
        noise = torch.rand(count, 1, side, side, generator=draws)
        total += weight * functional.interpolate(noise, (height, width), mode="bicubic", align_corners=False)
        weight *= roughness
    low, high = total.amin(dim=(2, 3), keepdim=True), total.amax(dim=(2, 3), keepdim=True)
    return ((total - low) / (high - low).clamp_min(1e-6)).to(images.device)


def _learned(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits = network(images.contiguous(memory_format=torch.channels_last))
    return logits, functional.cross_entropy(logits.float(), labels)


def _shuffled(images: Tensor, draws: torch.Generator) -> Tensor:
    return torch.randperm(len(images), generator=draws).to(images.device)


def _blended(logits: Tensor, labels: Tensor, others: Tensor, share: float) -> Tensor:
    own, other = (functional.cross_entropy(logits.float(), each) for each in (labels, others))
    return share * own + (1 - share) * other


@dataclass(frozen=True)
class TrainingWith:
    """Train as usual with another lesson.

    Attributes:
        lesson: What is learned from a batch.
    """

    lesson: Lesson

    def __call__(self, encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
        """Return the network of the last epoch."""
        return learn(encrypted, resources, seed, lesson=self.lesson)


AUGMENTATION: Final[tuple[Attacker, ...]] = (
    Attacker(name="cutout", title="cutout", attack=TrainingWith(Cutout()), source=_BENCH),
    Attacker(name="cutmix", title="CutMix", attack=TrainingWith(CutMix()), source=_BENCH),
    Attacker(name="mixup", title="mixup", attack=TrainingWith(Mixup()), source=_BENCH),
    Attacker(
        name="random-crop",
        title="random resized crops",
        attack=TrainingWith(StrongViews(0.3, 0.0)),
        cost=1.2,
        settings={"least_area": 0.3},
        source=_BENCH,
    ),
    Attacker(
        name="strong-views",
        title="strong random views",
        attack=TrainingWith(StrongViews()),
        cost=1.3,
        settings={"least_area": 0.2, "jitter": 0.4},
        source="AAP, arXiv 2402.04010",
    ),
    Attacker(
        name="ueraser",
        title="the hardest of several strong augmentations",
        attack=TrainingWith(Hardest()),
        cost=3.5,
        settings={"tries": 5, "intensity": 0.2},
        source="UEraser, arXiv 2303.15127",
    ),
)
