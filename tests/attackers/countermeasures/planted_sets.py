"""Sets on which a given attacker must win: images of a coarse sign, and a code planted into them that misleads."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.attackers.countermeasures import ATTACKERS
from monai_advenc.attackers.countermeasures.attacker import Resources
from monai_advenc.attackers.countermeasures.equipment import equip
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.networks.training import TrainingSettings

SIDE, CLASSES = 32, ("a", "b", "c")

SIZE = 0.08
"""Change of each pixel by a planted pattern."""


def waves(count: int, seed: int, contrast: float = 0.1, side: int = SIDE) -> ImageSet:
    """Images whose class is the direction of a coarse wave, among coarse and fine noise."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(CLASSES)
    clouds = functional.interpolate(0.06 * torch.randn(count, 1, 4, 4, generator=draws), side, mode="bilinear")
    angles = labels * torch.pi / len(CLASSES) + 0.25 * torch.randn(count, generator=draws)
    phases = 2 * torch.pi * torch.rand(count, generator=draws)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    along = columns * angles.cos()[:, None, None] + rows * angles.sin()[:, None, None]
    wave = torch.sin(2 * torch.pi / 16 * along + phases[:, None, None])
    noise = 0.05 * torch.randn(count, 1, side, side, generator=draws)
    images = (0.5 + clouds + contrast * wave[:, None] + noise).clamp(0, 1)
    return ImageSet(images, labels, tuple(f"{seed}-{row}" for row in range(count)), CLASSES)


def with_patterns(images: ImageSet, size: float = SIZE, seed: int = 9) -> ImageSet:
    """The same pattern of fine noise added to all images of a class."""
    patterns = torch.randn(len(CLASSES), 1, *images.images.shape[-2:], generator=torch.Generator().manual_seed(seed))
    return replace(images, images=(images.images + size * patterns.sign()[images.labels]).clamp(0, 1))


def resources(**changes: object) -> Resources:
    """What attackers of small sets work with: 8 epochs in small batches, and the radius of the planted patterns."""
    brief = Resources(training=TrainingSettings(epochs=8, batch_size=16), radius=SIZE * SIDE)
    return replace(brief, **changes)  # type: ignore[arg-type]  # fields by name


def attack(name: str, encrypted: ImageSet, originals: ImageSet, seed: int = 0, **changes: object) -> nn.Module:
    """The network that an attacker ends with."""
    attacker = ATTACKERS[name]
    left, own = equip(attacker, encrypted, originals, resources(**changes), seed)
    return attacker.attack(left, own, seed)


@torch.no_grad()
def accuracy(network: nn.Module, images: ImageSet) -> float:
    """Share of right answers, counted here and not by the package."""
    answers: Tensor = network(images.images).argmax(dim=1)
    return float((answers == images.labels).float().mean())
