# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""HaarPSI, a similarity index from Haar wavelets, with the constants for medical images.

Reisenhofer, Bosse, Kutyniok and Wiegand, "A Haar wavelet-based perceptual similarity index for image quality
assessment" (Signal Processing: Image Communication 61, 2018, 33-43), with the two constants that Karner et al.
("Parameter choices in HaarPSI for IQA with medical images", arXiv 2410.24098) found for medical images.

PSNR and SSIM agree poorly with radiologists' ratings; HaarPSI agrees better (Karner et al.; Breger et al., arXiv
2405.19224). Adversarial perturbations were not among the rated images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import convolve2d
from scipy.special import expit, logit

from monai_advenc.errors import ImageError

_PEAK = 255
_SCALES = 3
SMALLEST_SIDE = 16
"""Smallest side in pixels: half of it must hold the widest wavelet, 8 pixels."""

Map = NDArray[np.float64]


@dataclass(frozen=True)
class HaarPsiSetting:
    """The two constants of HaarPSI.

    Attributes:
        stability: ``C``, for gray levels up to 255; it suppresses differences far below its square root.
        steepness: ``alpha`` of the logistic function.
    """

    stability: float
    steepness: float


NATURAL = HaarPsiSetting(stability=30.0, steepness=4.2)
MEDICAL = HaarPsiSetting(stability=5.0, steepness=4.9)


@dataclass(frozen=True)
class SimilarityMaps:
    """Local similarities and their weights, ``(2, H / 2, W / 2)``: horizontal and vertical edges."""

    similarity: Map
    weight: Map
    setting: HaarPsiSetting

    def index(self, region: NDArray[np.bool_] | None = None) -> float:
        """The index over the image, or over a region.

        Args:
            region: ``(H, W)``; ``None``: the whole image.

        Returns:
            In [0, 1]; 1 for identical images, and where neither image has an edge.
        """
        weight = self.weight if region is None else self.weight * _touched(region)
        total = weight.sum()
        if total == 0:
            return 1.0
        alpha = self.setting.steepness
        mean = float((expit(alpha * self.similarity) * weight).sum() / total)
        return min(1.0, float((logit(mean) / alpha) ** 2))


def similarity_maps(image: Map, original: Map, setting: HaarPsiSetting = MEDICAL) -> SimilarityMaps:
    """Compare two gray images wavelet by wavelet.

    Args:
        image: ``(H, W)`` in [0, 1], at least 16 pixels wide.
        original: The same shape.
        setting: Constants, ``MEDICAL`` or ``NATURAL``.

    Raises:
        ImageError: The shapes differ, or are too small.
    """
    if image.shape != original.shape or image.ndim != 2 or min(image.shape) < SMALLEST_SIDE:
        raise ImageError(
            f"expected two gray images (H, W) of one shape, at least {SMALLEST_SIDE} pixels wide, "
            f"got {image.shape} and {original.shape}"
        )
    first, second = (_coefficients(_halved(pixels * _PEAK)) for pixels in (image, original))
    fine = _alike(first[:, :2], second[:, :2], setting.stability).mean(axis=1)
    weight = np.maximum(first[:, 2], second[:, 2])
    return SimilarityMaps(fine, weight, setting)


def haarpsi(image: Map, original: Map, setting: HaarPsiSetting = MEDICAL) -> float:
    """The index of two gray images ``(H, W)`` in [0, 1]; see :func:`similarity_maps`."""
    return similarity_maps(image, original, setting).index()


def _touched(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the halved image in which the region has any pixel."""
    even = np.pad(region, [(0, length % 2) for length in region.shape])
    return even[::2, ::2] | even[1::2, ::2] | even[::2, 1::2] | even[1::2, 1::2]


def _alike(first: Map, second: Map, stability: float) -> Map:
    return (2 * first * second + stability) / (np.square(first) + np.square(second) + stability)


def _halved(pixels: Map) -> Map:
    # The paper halves the image to account for the viewing distance.
    smoothed: Map = convolve2d(pixels, np.full((2, 2), 0.25), mode="full")[1:, 1:]
    return smoothed[::2, ::2]


def _coefficients(pixels: Map) -> Map:
    """Magnitudes ``(2, 3, H, W)``: edges across and along, at three scales."""
    found = []
    for scale in range(1, _SCALES + 1):
        width = 2**scale
        wavelet = np.full((width, width), 2.0**-scale)
        wavelet[: width // 2] *= -1
        found.append([np.abs(_same(pixels, wavelet)), np.abs(_same(pixels, wavelet.T))])
    return np.array(found).transpose(1, 0, 2, 3)


def _same(pixels: Map, wavelet: Map) -> Map:
    # MATLAB's "same" part of the full convolution, because the published values come from MATLAB.
    full: Map = convolve2d(pixels, wavelet, mode="full")
    start = wavelet.shape[0] // 2
    return full[start : start + pixels.shape[0], start : start + pixels.shape[1]]
