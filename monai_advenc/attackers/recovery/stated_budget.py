# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The budget that a manifest states to everyone, as settings for an attacker's own images."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monai_advenc.data.records import ImageRecord
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation


def stated_settings(
    images: Sequence[ImageRecord],
    norm: str,
    size: tuple[int, int],
    *,
    otherwise: float,
    steps: int,
    augmentation_aware: bool,
) -> PerturbationSettings:
    """Settings with the largest radius of a data set, at another image size.

    Radii of one data set differ by more than the images' sizes where only a region may change, and each region gets its
    share. The largest is the nearest to the key's.

    Args:
        images: Records of the data set; at least one.
        norm: Its norm.
        size: Height and width of the images to perturb.
        otherwise: Radius of images that state none.
        steps: PGD steps; their length follows.
        augmentation_aware: Whether steps use random views.
    """
    # Resizing keeps the mean change of a pixel: that is what an L2 radius grows with.
    sides = (math.sqrt(math.prod(size) / math.prod(image.shape[1:])) if norm == "l2" else 1.0 for image in images)
    radii = (otherwise if image.radius is None else image.radius for image in images)
    radius = max(own * side for own, side in zip(radii, sides, strict=True))
    return PerturbationSettings.model_validate(
        {
            "radius": radius,
            "step_size": 2.5 * radius / steps,
            "steps": steps,
            "norm": norm,
            "augmentation": Augmentation() if augmentation_aware else None,
        }
    )
