# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure the distance of an image from its original in common units (L2, PSNR, SSIM)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from skimage.metrics import structural_similarity
from torch import Tensor

from monai_advenc.data.records import Changeable
from monai_advenc.errors import ImageError

GRAY_LEVELS = 255
"""Gray levels for stating a root mean square change, independent of the file's bit depth."""

IDENTICAL_PSNR_DB = 200.0
"""PSNR of identical images, because JSON has no infinity."""

SMALLEST_SIDE = 7


@dataclass(frozen=True)
class Fidelity:
    """Distances of one image from its original.

    Attributes:
        l2: Euclidean, on the [0, 1] scale.
        linf: Largest change of a pixel, on the [0, 1] scale.
        rms_gray_levels: Root mean square change of a pixel, in gray levels of 255.
        psnr_db: Peak signal-to-noise ratio for a peak of 1.
        ssim: Mean structural similarity (Wang et al. 2004), 7x7 window.
    """

    l2: float
    linf: float
    rms_gray_levels: float
    psnr_db: float
    ssim: float

    def as_dict(self) -> dict[str, float]:
        """The distances by name, rounded to readable digits, far finer than any tolerance."""
        return {name: _readable(value) for name, value in asdict(self).items()}


def measure_fidelity(images: Tensor, originals: Tensor) -> list[Fidelity]:
    """Measure each image against its original.

    Args:
        images: ``(N, C, H, W)`` in [0, 1].
        originals: The same shape.

    Returns:
        One :class:`Fidelity` per image.

    Raises:
        ImageError: The shapes differ or are smaller than the window of SSIM (7 pixels).
    """
    if images.shape != originals.shape or images.ndim != 4 or min(images.shape[-2:]) < SMALLEST_SIDE:
        raise ImageError(
            f"expected two batches (N, C, H, W) of one shape, at least {SMALLEST_SIDE} pixels wide, "
            f"got {tuple(images.shape)} and {tuple(originals.shape)}"
        )
    return [
        _measure(image, original)
        for image, original in zip(images.double().cpu().numpy(), originals.double().cpu().numpy(), strict=True)
    ]


def measure_changeable(image: Tensor, original: Tensor, region: Tensor) -> Changeable:
    """Measure an image against its original over the pixels that may change.

    An average over the whole image says little about a small region: the more pixels stay, the smaller it is.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        original: The same shape.
        region: ``(1, H, W)``, bool: the pixels that may change; at least one.
    """
    change = (image.double() - original.double())[:, region[0]]
    mean_square = float(change.square().mean())
    return Changeable(
        pixels=int(region.sum()),
        linf=_readable(float(change.abs().max())),
        rms_gray_levels=_readable(GRAY_LEVELS * mean_square**0.5),
        psnr_db=_readable(psnr_db(mean_square)),
    )


def _readable(value: float) -> float:
    """Round to readable digits, far finer than any tolerance."""
    return float(f"{value:.8g}")


def psnr_db(mean_square: float) -> float:
    """PSNR for a peak of 1, from the mean squared change of a pixel; at most :data:`IDENTICAL_PSNR_DB`."""
    return min(IDENTICAL_PSNR_DB, -10 * float(np.log10(mean_square))) if mean_square else IDENTICAL_PSNR_DB


def _measure(image: np.ndarray, original: np.ndarray) -> Fidelity:
    change = image - original
    mean_square = float(np.square(change).mean())
    return Fidelity(
        l2=float(np.sqrt(np.square(change).sum())),
        linf=float(np.abs(change).max()),
        rms_gray_levels=GRAY_LEVELS * mean_square**0.5,
        psnr_db=psnr_db(mean_square),
        ssim=float(structural_similarity(original, image, data_range=1, channel_axis=0, win_size=SMALLEST_SIDE)),
    )
