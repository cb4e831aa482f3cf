# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Learn to denoise from the encrypted images themselves: guess pixels from their neighborhood (Noise2Void)."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from monai_advenc.attackers.countermeasures.attacker import Attacker, Resources, learn
from monai_advenc.attackers.countermeasures.purifiers.restoration import Restoration, train_restorer
from monai_advenc.data.images.image_set import ImageSet

HIDDEN_SHARE: Final = 0.03
"""Share of pixels that are hidden from the network."""

_REACH: Final = 2


def hidden(images: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace a few pixels by a neighbor at most two pixels away; return the images and a mask of these pixels."""
    count, channels, height, width = images.shape
    mask = torch.rand(count, 1, height, width, generator=draws) < HIDDEN_SHARE
    steps = torch.randint(-_REACH, _REACH + 1, (2, count, 1, height, width), generator=draws)
    # Never the pixel itself.
    steps[0][(steps == 0).all(dim=0)] = 1
    rows = (torch.arange(height)[:, None] + steps[0]).abs()
    columns = (torch.arange(width) + steps[1]).abs()
    rows, columns = (height - 1) - ((height - 1) - rows).abs(), (width - 1) - ((width - 1) - columns).abs()
    place = (rows * width + columns).expand(count, channels, height, width).flatten(2)
    neighbors = images.flatten(2).gather(2, place).reshape(images.shape)
    return torch.where(mask, neighbors, images), mask


def train_blind_spot(images: Tensor, seed: int, device: str) -> Restoration:
    """Train a restorer to guess hidden pixels of these images."""

    def example(rows: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        seen, mask = hidden(images[rows], draws)
        return seen, images[rows], mask.expand_as(seen).float()

    return train_restorer(len(images), images.shape[1], example, seed, device)


def blind_spot(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Denoise all images, those to classify too, and train as usual."""
    return learn(encrypted, resources, seed, image_filter=train_blind_spot(encrypted.images, seed, resources.device))


BLIND_SPOT: Final[tuple[Attacker, ...]] = (
    Attacker(
        name="blind-spot",
        title="a denoiser trained on the encrypted images themselves",
        attack=blind_spot,
        cost=2.5,
        settings={"hidden_share": HIDDEN_SHARE},
        source="Noise2Void, Krull et al. 2019, arXiv 1811.10980",
    ),
)
