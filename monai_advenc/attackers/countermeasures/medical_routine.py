# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What is done to medical images before training anyway: intensities, bias field, resampling, stripping, noise."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from monai_advenc.attackers.countermeasures.attacker import Attacker, each_image
from monai_advenc.attackers.countermeasures.filtering import filter_attacker
from monai_advenc.evaluation.protection import body_only

_ROUTINE: Final = "MONAI's transforms; Zhu et al. 2024 (DUNE), arXiv 2406.02883"

_SHOWN_DEVIATIONS: Final = 3.0
"""Standard scores from -3 to 3 fill the range of pixels."""

Name = Literal["z-score", "percentiles", "histogram", "window", "resample"]


@dataclass(frozen=True)
class Routine:
    """A deterministic transform of MONAI's, one image at a time.

    Attributes:
        name: Which.
    """

    name: Name

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``."""
        transform = _TRANSFORMS[self.name](tuple(images.shape[-2:]))
        return each_image(lambda image: torch.as_tensor(np.asarray(transform(image.clone()))).to(images), images)


def _z_score(sides: tuple[int, ...]) -> Callable[[Tensor], Any]:
    from monai.transforms import NormalizeIntensity

    standardize = NormalizeIntensity(nonzero=True, channel_wise=True)
    return lambda image: torch.as_tensor(standardize(image)).div(2 * _SHOWN_DEVIATIONS).add(0.5).clamp(0, 1)


def _percentiles(sides: tuple[int, ...]) -> Callable[[Tensor], Any]:
    from monai.transforms import ScaleIntensityRangePercentiles

    return ScaleIntensityRangePercentiles(1, 99, 0, 1, clip=True)


def _histogram(sides: tuple[int, ...]) -> Callable[[Tensor], Any]:
    from monai.transforms import HistogramNormalize

    return HistogramNormalize(num_bins=256, min=0, max=1)


def _window(sides: tuple[int, ...]) -> Callable[[Tensor], Any]:
    from monai.transforms import ScaleIntensityRange

    return ScaleIntensityRange(0.1, 0.6, 0, 1, clip=True)


def _resample(sides: tuple[int, ...]) -> Callable[[Tensor], Any]:
    from monai.transforms import Compose, Resize

    coarse = [max(2, round(0.7 * side)) for side in sides]
    return Compose([Resize(coarse, mode="bicubic", anti_aliasing=True), Resize(list(sides), mode="bicubic")])


_TRANSFORMS: Final[dict[Name, Callable[[tuple[int, ...]], Callable[[Tensor], Any]]]] = {
    "z-score": _z_score,
    "percentiles": _percentiles,
    "histogram": _histogram,
    "window": _window,
    "resample": _resample,
}


@dataclass(frozen=True)
class BiasCorrection:
    """Divide by a smooth field, estimated as the blurred logarithm of the body, like N4 in its first step.

    Attributes:
        share: Standard deviation of the blur, as a share of the side.
    """

    share: float = 0.12

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``; each keeps its mean over the body."""
        return each_image(self._corrected, images)

    def _corrected(self, image: Tensor) -> Tensor:
        inside = (body_only(image[None])[0] > 0).float().numpy()
        sigma = (0, self.share * image.shape[1], self.share * image.shape[2])
        logarithm = np.log(image.clamp_min(1e-3).numpy())
        weight = ndimage.gaussian_filter(inside, sigma)
        field = ndimage.gaussian_filter(logarithm * inside, sigma) / np.maximum(weight, 1e-3)
        mean = (field * inside).sum() / max(1.0, inside.sum())
        return (image * torch.from_numpy(np.exp(mean - field)).to(image)).clamp(0, 1)


@dataclass(frozen=True)
class Stripped:
    """Keep the inside of the body only, without its rim, as skull stripping does.

    Attributes:
        share: Width of the rim as a share of the side.
    """

    share: float = 0.08

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``."""

        def stripped(image: Tensor) -> Tensor:
            body = ndimage.binary_fill_holes((body_only(image[None])[0] > 0).any(dim=0).numpy())
            steps = max(1, round(self.share * min(image.shape[-2:])))
            return image * torch.from_numpy(ndimage.binary_erosion(body, iterations=steps))

        return each_image(stripped, images)


@dataclass(frozen=True)
class RicianNoise:
    """Add noise as of magnitude MRI; the noise of an image depends on its pixels alone.

    Attributes:
        sigma: Standard deviation of each part.
    """

    sigma: float

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``."""
        from monai.transforms import RandRicianNoise

        noise = RandRicianNoise(prob=1, mean=0, std=self.sigma, sample_std=False)

        def noisy(image: Tensor) -> Tensor:
            noise.set_random_state(zlib.crc32(image.contiguous().numpy().tobytes()))
            return torch.as_tensor(np.asarray(noise(image))).to(image).clamp(0, 1)

        return each_image(noisy, images)


MEDICAL_ROUTINE: Final[tuple[Attacker, ...]] = (
    filter_attacker("z-score", "standardizing each image", Routine("z-score"), _ROUTINE),
    filter_attacker("percentiles", "clipping at percentiles", Routine("percentiles"), _ROUTINE),
    filter_attacker("histogram", "equalizing histograms", Routine("histogram"), _ROUTINE),
    filter_attacker("window", "a narrow window", Routine("window"), _ROUTINE, low=0.1, high=0.6),
    filter_attacker("resample", "resampling to a coarser grid and back", Routine("resample"), _ROUTINE, share=0.7),
    filter_attacker("bias-correction", "bias field correction", BiasCorrection(), "Tustison et al. 2010 (N4)"),
    filter_attacker("stripped", "skull stripping", Stripped(), _ROUTINE, share=0.08),
    filter_attacker("rician-noise", "Rician noise", RicianNoise(0.03), _ROUTINE, sigma=0.03),
)
