# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Distance of encrypted images from their originals, by region: tumor, body and background.

An average over the whole image hides the difference: most of its pixels are background, in which a perturbation is
easiest to see and matters least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import Tensor

from monai_advenc.data.images.reading import to_gray
from monai_advenc.encryption.fidelity import GRAY_LEVELS, SMALLEST_SIDE, psnr_db
from monai_advenc.encryption.regions import body
from monai_advenc.errors import ImageError
from monai_advenc.evaluation.haarpsi import similarity_maps

WHOLE, TUMOR, BODY, BACKGROUND = "image", "tumor", "body", "background"
REGION_NAMES = (WHOLE, TUMOR, BODY, BACKGROUND)
QUANTITIES = ("rms_gray_levels", "psnr_db", "ssim", "haarpsi")

Region = NDArray[np.bool_]


@dataclass(frozen=True)
class RegionFidelity:
    """Distances within one region.

    Attributes:
        pixels: Number of pixels.
        rms_gray_levels: Root mean square change of a pixel, in gray levels of 255.
        psnr_db: Peak signal-to-noise ratio for a peak of 1.
        ssim: Structural similarity, 7x7 window, averaged over the region's pixels.
        haarpsi: HaarPSI in the medical setting, over the region's edges.
    """

    pixels: int
    rms_gray_levels: float
    psnr_db: float
    ssim: float
    haarpsi: float


def image_regions(original: Tensor, mask: Tensor | None) -> dict[str, Region]:
    """Find the regions of an image: the whole image, its tumor if a mask is given, the body around it, the background.

    Args:
        original: ``(C, H, W)`` in [0, 1].
        mask: ``(1, H, W)``, or ``None``.

    Returns:
        ``(H, W)`` by name; empty regions are left out.
    """
    everything: Region = np.ones(tuple(original.shape[-2:]), dtype=bool)
    tumor: Region = np.zeros_like(everything) if mask is None else mask[0].numpy().astype(bool)
    try:
        inside: Region = body(original)[0].numpy()
    except ImageError:
        # A constant image has no visible body.
        inside = np.zeros_like(everything)
    regions = {WHOLE: everything, TUMOR: tumor, BODY: inside & ~tumor, BACKGROUND: ~inside & ~tumor}
    return {name: region for name, region in regions.items() if region.any()}


def measure_regions(image: Tensor, original: Tensor, regions: Mapping[str, Region]) -> dict[str, RegionFidelity]:
    """Measure one image against its original, region by region.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        original: The same shape.
        regions: ``(H, W)`` by name.

    Raises:
        ImageError: The shapes differ or are too small.
    """
    if image.shape != original.shape or image.ndim != 3:
        raise ImageError(
            f"expected two images (C, H, W) of one shape, got {tuple(image.shape)}, {tuple(original.shape)}"
        )
    after, before = image.double().numpy(), original.double().numpy()
    maps = similarity_maps(to_gray(image.double())[0].numpy(), to_gray(original.double())[0].numpy())
    _, similarity = structural_similarity(
        before, after, data_range=1, channel_axis=0, win_size=SMALLEST_SIDE, full=True
    )
    square, similar = np.square(after - before).mean(axis=0), similarity.mean(axis=0)
    measured = {}
    for name, region in regions.items():
        mean_square = float(square[region].mean())
        measured[name] = RegionFidelity(
            int(region.sum()),
            GRAY_LEVELS * mean_square**0.5,
            psnr_db(mean_square),
            float(similar[region].mean()),
            maps.index(region),
        )
    return measured


def average_regions(
    images: Sequence[Mapping[str, RegionFidelity]], average: Callable[[Sequence[float]], float]
) -> dict[str, dict[str, float]]:
    """Average each quantity over all images that have the region.

    Args:
        images: Results of :func:`measure_regions`.
        average: Function that reduces values to one, such as ``statistics.fmean`` or ``min``.
    """
    averages: dict[str, dict[str, float]] = {}
    for name in REGION_NAMES:
        having = [image[name] for image in images if name in image]
        if having:
            averages[name] = {
                quantity: average([getattr(each, quantity) for each in having]) for quantity in QUANTITIES
            }
    return averages
