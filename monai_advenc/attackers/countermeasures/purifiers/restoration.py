# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A small U-Net that restores images, and its training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.networks.training.reproducibility import reproducible

Example = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor, Tensor]]
"""Makes inputs ``(B, C, H, W)``, targets and weights of pixels from the rows of a batch and a generator of the CPU."""

STEPS, BATCH, RATE = 600, 16, 2e-3

_DIVISOR = 4
"""Sides must be multiples of this, because the U-Net halves them twice."""

_AT_A_TIME = 128


class Restorer(nn.Module):
    """A U-Net with 16, 32 and 64 channels that adds a correction to its input, at first none.

    Args:
        channels: Channels of the images.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fine, self.middle, self.coarse = _block(channels, 16), _block(16, 32), _block(32, 64)
        self.up_middle, self.up_fine = _block(64 + 32, 32), _block(32 + 16, 16)
        self.correction = nn.Conv2d(16, channels, 1)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)  # type: ignore[arg-type]  # there is a bias

    def forward(self, images: Tensor) -> Tensor:
        """Restored images ``(N, C, H, W)``, not clipped; borders are mirrored to a size that can be halved."""
        height, width = images.shape[-2:]
        padding = (0, -width % _DIVISOR, 0, -height % _DIVISOR)
        fine = self.fine(functional.pad(images, padding, mode="reflect") if any(padding) else images)
        middle = self.middle(functional.max_pool2d(fine, 2))
        coarse = self.coarse(functional.max_pool2d(middle, 2))
        middle = self.up_middle(torch.cat([functional.interpolate(coarse, scale_factor=2.0), middle], dim=1))
        fine = self.up_fine(torch.cat([functional.interpolate(middle, scale_factor=2.0), fine], dim=1))
        restored: Tensor = images + self.correction(fine)[..., :height, :width]
        return restored


def _block(before: int, after: int) -> nn.Sequential:
    first, second = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())


@dataclass(frozen=True, eq=False)
class Restoration:
    """Restore images with a trained network, in batches.

    Attributes:
        network: In evaluation mode.
    """

    network: nn.Module

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` in [0, 1]."""
        device = next(self.network.parameters()).device
        return torch.cat([self.network(batch.to(device)).clamp(0, 1).cpu() for batch in images.split(_AT_A_TIME)])


def train_restorer(
    count: int, channels: int, example: Example, seed: int, device: str, steps: int = STEPS
) -> Restoration:
    """Train a restorer to lower the weighted absolute error of its targets.

    Args:
        count: Number of images that ``example`` knows.
        channels: Their channels.
        example: Makes a batch.
        seed: Of weights, order and examples.
        device: Where to train.
        steps: Number of batches.
    """
    draws = torch.Generator().manual_seed(seed)
    with reproducible(seed, device):
        network = Restorer(channels).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(count, (min(BATCH, count),), generator=draws)
            inputs, targets, weights = (part.to(device) for part in example(rows, draws))
            optimizer.zero_grad()
            ((network(inputs) - targets).abs() * weights).sum().div(weights.sum().clamp_min(1)).backward()
            optimizer.step()
            rates.step()
    return Restoration(network.eval())
