# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Roundings of an encrypted image to a file's grid, for ``compare_rounding.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration.gradients import target_gradient
from monai_advenc.encryption.rounding import round_to_grid
from monai_advenc.perturbation.geometry import l2_length, project_l2

LEVELS = {"8-bit PNG": 255, "12-bit DICOM": 4095}


@dataclass(frozen=True)
class Case:
    """Data that a rounding may use."""

    network: nn.Module
    originals: Tensor
    exact: Tensor
    targets: Tensor
    shares: Tensor
    levels: int
    radius: float

    def fit(self, images: Tensor, rounding: str = "fit") -> Tensor:
        """Round as the package does: to the grid of a PNG, or to whole stored units away from the original."""
        grid: dict[str, Any] = {"levels": self.levels}
        if self.levels != LEVELS["8-bit PNG"]:
            grid = {"unit": torch.full((len(images),), 1 / self.levels, dtype=torch.float64)}
        return round_to_grid(images, self.originals, **grid, radius=self.radius, rounding=rounding)

    def gradient(self, images: Tensor) -> Tensor:
        """Gradient of the mean target loss, each target's confined to the pixels that its version contributed."""
        columns = range(self.targets.shape[1])
        parts = [target_gradient(self.network, images, self.targets[:, i]) * self.shares[:, i] for i in columns]
        return torch.stack(parts).mean(dim=0)

    @torch.no_grad()
    def loss(self, images: Tensor) -> Tensor:
        """Mean target loss of each image."""
        logits = self.network(images)
        columns = [functional.cross_entropy(logits, column, reduction="none") for column in self.targets.T]
        return torch.stack(columns).mean(dim=0)

    def shrunk(self, round_one: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply a rounding to a perturbation that is shrunk until the result is inside the ball (bisection)."""
        low, high = torch.zeros(len(self.exact)), torch.ones(len(self.exact))
        change = self.exact.double() - self.originals.double()
        best = self.originals
        for place in range(8):
            factor = high if place == 0 else (low + high) / 2
            rounded = round_one((self.originals.double() + factor[:, None, None, None] * change).clamp(0, 1))
            inside = l2_length(rounded.double() - self.originals.double()) <= self.radius
            low, high = torch.where(inside, factor, low), torch.where(inside, high, factor)
            best = torch.where(inside[:, None, None, None], rounded, best)
        return best


def stochastic(case: Case) -> Tensor:
    """Round up or down with the probability that keeps the mean."""
    dither = torch.rand(case.exact.shape, generator=torch.Generator().manual_seed(0)).double()
    return case.shrunk(lambda images: ((images * case.levels + dither).floor() / case.levels).clamp(0, 1).float())


def error_diffusion(case: Case) -> Tensor:
    """Pass each pixel's rounding error on to its neighbors (Floyd and Steinberg 1976)."""

    def diffuse(images: Tensor) -> Tensor:
        values = np.pad((images * case.levels).numpy(), ((0, 0), (0, 0), (0, 1), (1, 1)))
        height, width = images.shape[-2:]
        for row, column in product(range(height), range(1, width + 1)):
            error = values[:, :, row, column] - np.rint(values[:, :, row, column])
            values[:, :, row, column] -= error
            values[:, :, row, column + 1] += error * 7 / 16
            for step, weight in ((-1, 3), (0, 5), (1, 1)):
                values[:, :, row + 1, column + step] += error * weight / 16
        whole = np.rint(values[:, :, :height, 1 : width + 1]).clip(0, case.levels)
        return torch.from_numpy(whole / case.levels).float()

    return case.shrunk(diffuse)


def gradient_sign(case: Case) -> Tensor:
    """Move up to a quarter of a step in the direction that lowers the loss, then round as the package does."""
    gradient = case.gradient(case.fit(case.exact))
    scale = gradient.flatten(1).abs().mean(dim=1)[:, None, None, None]
    return case.fit((case.exact - 0.25 / case.levels * (gradient / scale).clamp(-1, 1)).clamp(0, 1))


def on_the_grid(steps: int, on_a_grid: bool = True) -> Callable[[Case], Tensor]:
    """PGD steps of a fiftieth of the radius with gradients at the rounded image; keep the best rounded image."""

    def descend(case: Case) -> Tensor:
        ball = case.fit if on_a_grid else lambda images: images
        ahead, best = case.exact, ball(case.exact)
        for _ in range(steps):
            gradient = case.gradient(ball(ahead))
            ahead = ahead - case.radius / 50 * gradient / l2_length(gradient)[:, None, None, None].clamp_min(1e-30)
            ahead = (case.originals + project_l2(ahead - case.originals, case.radius)).clamp(0, 1)
            rounded = ball(ahead)
            better = case.loss(rounded) < case.loss(best)
            best = torch.where(better[:, None, None, None], rounded, best)
        return best

    return descend


ROUNDINGS: dict[str, Callable[[Case], Tensor]] = {
    "naive (leaves the ball)": lambda case: case.fit(case.exact, "naive"),
    "fit (the package's)": lambda case: case.fit(case.exact),
    "stochastic, shrunk": stochastic,
    "error diffusion, shrunk": error_diffusion,
    "gradient sign": gradient_sign,
    "2 steps on the grid": on_the_grid(2),
    "4 steps on the grid": on_the_grid(4),
    "no grid, 4 steps more": on_the_grid(4, on_a_grid=False),
}
"""The last entry does not round: it shows the effect of the steps alone on the float result."""
