# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure how visible the change of images is: PSNR, HaarPSI, and compared with the noise that the images have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from torch import Tensor

from monai_advenc.data.images.reading import to_gray
from monai_advenc.encryption.fidelity import psnr_db
from monai_advenc.encryption.noise import noise_of
from monai_advenc.encryption.regions import body
from monai_advenc.errors import ImageError
from monai_advenc.evaluation.haarpsi import haarpsi

MOST_IMAGES = 60
"""Images that are measured, spread evenly over the others."""


@dataclass(frozen=True)
class Visibility:
    """How visible a change is, averaged over images.

    Attributes:
        psnr_db: Mean PSNR for a peak of 1.
        haarpsi: Mean HaarPSI in the medical setting; 1: no difference.
        over_noise: Median of the root mean square change within the body, divided by the standard deviation of the
            noise there; ``None`` if the images have no noise.
    """

    psnr_db: float
    haarpsi: float
    over_noise: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Plain values for JSON."""
        return asdict(self)


def measure_visibility(images: Tensor, originals: Tensor) -> Visibility:
    """Measure the change of images.

    Args:
        images: ``(N, C, H, W)`` in [0, 1], at least 16 pixels wide.
        originals: The same shape.
    """
    count = min(len(originals), MOST_IMAGES)
    rows = [place * len(originals) // count for place in range(count)]
    pairs = [(to_gray(images[row].double())[0], to_gray(originals[row].double())[0]) for row in rows]
    squares = [float((images[row].double() - originals[row].double()).square().mean()) for row in rows]
    similar = [haarpsi(after.numpy(), before.numpy()) for after, before in pairs]
    ratios = [ratio for after, before in pairs if (ratio := _over_noise(after, before)) is not None]
    return Visibility(
        psnr_db=round(float(np.mean([psnr_db(square) for square in squares])), 3),
        haarpsi=round(float(np.mean(similar)), 4),
        over_noise=round(float(np.median(ratios)), 3) if ratios else None,
    )


def _over_noise(after: Tensor, before: Tensor) -> float | None:
    try:
        inside = body(before[None])[0].numpy()
    except ImageError:  # A constant image has no body.
        return None
    noise = noise_of(before.numpy(), inside)
    change = float(np.sqrt(np.square((after - before).numpy()[inside]).mean()))
    return change / noise if noise else None


def mean_visibility(measured: Sequence[Visibility]) -> Visibility:
    """Average over several measurements of one radius."""
    ratios = [each.over_noise for each in measured if each.over_noise is not None]
    return Visibility(
        psnr_db=float(np.mean([each.psnr_db for each in measured])),
        haarpsi=float(np.mean([each.haarpsi for each in measured])),
        over_noise=float(np.mean(ratios)) if ratios else None,
    )
