# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Algorithms that remove noise and keep edges: non-local means, total variation, wavelets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from torch import Tensor
from torch.nn import functional

from monai_advenc.attackers.countermeasures.attacker import Attacker, each_image
from monai_advenc.attackers.countermeasures.filtering import filter_attacker
from monai_advenc.encryption.noise import noise_of
from monai_advenc.evaluation.protection import body_only

_LEAST_NOISE: Final = 1e-3


@dataclass(frozen=True)
class NonLocalMeans:
    """Average each pixel over others in whose neighborhood the image looks alike (Buades et al. 2005)."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``; the strength follows from the noise of each."""
        return each_image(self._denoised, images)

    def _denoised(self, image: Tensor) -> Tensor:
        sigma = _noise_of(image)
        channels: list[NDArray[np.float32]] = [
            denoise_nl_means(channel, patch_size=5, patch_distance=6, h=0.8 * sigma, sigma=sigma, fast_mode=True)
            for channel in image.numpy()
        ]
        return torch.from_numpy(np.stack(channels)).to(image)


@dataclass(frozen=True)
class TotalVariation:
    """Minimize total variation (Chambolle 2004).

    Attributes:
        weight: Strength.
    """

    weight: float

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``."""

        def denoised(image: Tensor) -> Tensor:
            return torch.from_numpy(denoise_tv_chambolle(image.numpy(), self.weight, channel_axis=0)).to(image)

        return each_image(denoised, images)


@dataclass(frozen=True)
class WaveletShrinkage:
    """Shrink the details of a Haar transform (Donoho and Johnstone 1994), averaged over shifts by one pixel.

    Attributes:
        times_noise: Threshold in standard deviations of the noise.
        levels: Number of times that details are split off.
    """

    times_noise: float = 2.0
    levels: int = 2

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``."""
        thresholds = torch.tensor([self.times_noise * _noise_of(image) for image in images])[:, None, None, None]
        shifts = [(0, 0), (0, 1), (1, 0), (1, 1)]
        total = torch.zeros_like(images)
        for shift in shifts:
            moved = images.roll(shift, (2, 3))
            total += self._shrunk(moved, thresholds, self.levels).roll((-shift[0], -shift[1]), (2, 3))
        return total / len(shifts)

    def _shrunk(self, images: Tensor, thresholds: Tensor, levels: int) -> Tensor:
        height, width = images.shape[-2:]
        if levels == 0 or min(height, width) < 2:
            return images
        even = functional.pad(images, (0, width % 2, 0, height % 2), mode="replicate")
        a, b, c, d = (even[..., row::2, column::2] for row in (0, 1) for column in (0, 1))
        smooth = self._shrunk((a + b + c + d) / 2, thresholds, levels - 1)
        x, y, z = (_soft(part, thresholds) for part in ((a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2))
        back = torch.empty_like(even)
        back[..., 0::2, 0::2], back[..., 0::2, 1::2] = (smooth + x + y + z) / 2, (smooth - x + y - z) / 2
        back[..., 1::2, 0::2], back[..., 1::2, 1::2] = (smooth + x - y - z) / 2, (smooth - x - y + z) / 2
        return back[..., :height, :width]


def _soft(details: Tensor, threshold: Tensor) -> Tensor:
    return details.sign() * (details.abs() - threshold).clamp_min(0)


def _noise_of(image: Tensor) -> float:
    """Standard deviation of the noise in the body of an image ``(C, H, W)``."""
    inside = body_only(image[None])[0].sum(dim=0).numpy() > 0
    return max(_LEAST_NOISE, *(noise_of(channel, inside) for channel in image.double().numpy()))


DENOISING: Final[tuple[Attacker, ...]] = (
    filter_attacker("non-local-means", "non-local means", NonLocalMeans(), "Buades et al. 2005", cost=1.5),
    filter_attacker(
        "total-variation", "total variation denoising", TotalVariation(0.05), "Chambolle 2004", cost=1.3, weight=0.05
    ),
    filter_attacker("wavelet", "wavelet shrinkage", WaveletShrinkage(), "Donoho and Johnstone 1994", times_noise=2.0),
)
