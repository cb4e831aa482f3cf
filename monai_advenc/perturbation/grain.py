# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Grain: steps that change mostly structures of a chosen size in pixels (ours, not part of the paper).

In trials victims learned perturbations of fine grain more often than others, and JPEG removed the finest
(``docs/strength.md``). So both ends are cut off.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from monai_advenc.settings import Settings

REACH = 4
"""Standard deviations after which a blur is cut off."""


class Grain(Settings):
    """A band of structure sizes, between two Gaussian blurs. Its ends are soft.

    Attributes:
        finest: Standard deviation in pixels of the blur that weakens finer structures; 0: none are weakened.
        coarsest: Standard deviation in pixels of the blur that only coarser structures survive; these are weakened.

    Raises:
        SettingsError: A number is out of its range, or ``finest`` is not less than ``coarsest``.

    Example:
        >>> from monai_advenc import PerturbationSettings
        >>> from monai_advenc.perturbation.grain import Grain
        >>> fine = Grain(finest=0.7, coarsest=1.4)
        >>> PerturbationSettings(radius=2, step_size=0.5, steps=100, grain=fine).grain.coarsest
        1.4
    """

    finest: float = Field(ge=0, le=20)
    coarsest: float = Field(ge=0.3, le=20)

    @model_validator(mode="after")
    def _is_a_band(self) -> Grain:
        if self.finest >= self.coarsest:
            raise ValueError("the finest grain must be less than the coarsest")
        return self

    def notes(self) -> dict[str, float]:
        """What the file of a base network keeps of it."""
        return {"grain_finest": self.finest, "grain_coarsest": self.coarsest}

    def of(self, gradient: Tensor) -> Tensor:
        """The part of gradients ``(N, C, H, W)`` within the band; each row depends on itself alone."""
        return blurred(gradient, self.finest) - blurred(gradient, self.coarsest)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Blur images ``(N, C, H, W)`` with a Gaussian whose standard deviation is ``sigma`` pixels; edges are continued.

    The sum over shifted images has one order for every size of the batch and every processor, unlike a convolution.
    """
    if not sigma:
        return images
    reach = math.ceil(REACH * sigma)
    weights = [math.exp(-((place / sigma) ** 2) / 2) for place in range(-reach, reach + 1)]
    total = math.fsum(weights)
    for axis in (-2, -1):
        edges = (0, 0, reach, reach) if axis == -2 else (reach, reach, 0, 0)
        padded = functional.pad(images, edges, mode="replicate")
        length, result = images.shape[axis], torch.zeros_like(images)
        for place, weight in enumerate(weights):
            result = result + weight / total * padded.narrow(axis, place, length)
        images = result
    return images
