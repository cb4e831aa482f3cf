# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Learn to denoise from clean images of another kind with added noise."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from monai_advenc.attackers.countermeasures.attacker import Attacker, Knowledge, Resources, learn
from monai_advenc.attackers.countermeasures.purifiers.restoration import Restoration, train_restorer
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import SettingsError

STRENGTH: Final = 2.0
"""Standard deviation of the noise, in root mean squares of the owner's change."""


def train_denoiser(clean: Tensor, sigma: float, seed: int, device: str) -> Restoration:
    """Train a restorer to remove Gaussian noise of up to this standard deviation from images ``(N, C, H, W)``."""

    def example(rows: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        targets = clean[rows]
        strength = sigma * torch.rand(len(rows), 1, 1, 1, generator=draws)
        noisy = (targets + strength * torch.randn(targets.shape, generator=draws)).clamp(0, 1)
        return noisy, targets, torch.ones_like(targets)

    return train_restorer(len(clean), clean.shape[1], example, seed, device)


def denoising_autoencoder(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Denoise all images, those to classify too, and train as usual."""
    if resources.other is None or resources.radius is None:
        raise SettingsError("this attacker needs other images and the stated radius; see equip")
    sigma = STRENGTH * resources.radius / math.sqrt(encrypted.images[0].numel())
    restored = train_denoiser(resources.other.images, sigma, seed, resources.device)
    return learn(encrypted, resources, seed, image_filter=restored)


DENOISING_AUTOENCODER: Final[tuple[Attacker, ...]] = (
    Attacker(
        name="denoising-autoencoder",
        title="a denoiser trained on images of another kind",
        attack=denoising_autoencoder,
        cost=2.5,
        knowledge=Knowledge(other=True, method=True),
        settings={"strength": STRENGTH},
        source="Vincent et al. 2008; the small stand-in for AVATAR, arXiv 2303.08500",
    ),
)
