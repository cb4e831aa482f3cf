# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure where the change of an image lies: how much of its energy inside the body and inside the tumor."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from monai_advenc.data.manifest import Budget
from monai_advenc.data.records import Energy
from monai_advenc.encryption.regions import body
from monai_advenc.errors import ImageError

LEAST_INSIDE_BODY: Final = 0.7
"""Share of the squared change inside the body below which a warning comes: a recipient may crop what lies outside."""

_DIGITS = 4


def measure_energy(image: Tensor, original: Tensor, tumor: Tensor | None = None) -> Energy | None:
    """Measure the shares of the squared change that lie inside the body of the original and inside the tumor.

    What lies outside the body is lost where a recipient crops or masks the background.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        original: The same shape.
        tumor: Mask ``(1, H, W)`` on the same grid.

    Returns:
        The shares; ``None`` for an unchanged image. The body is known for gray images only: photographs and stained
        tissue fill their frame.
    """
    change = (image.double() - original.double()).square().sum(dim=0)
    whole = float(change.sum())
    if whole == 0:
        return None

    def share(region: Tensor) -> float:
        return round(float(change[region[0].bool()].sum()) / whole, _DIGITS)

    try:
        inside_body = share(body(original)) if len(original) == 1 else None
    except ImageError:  # No contrast, no body.
        inside_body = None
    return Energy(inside_body=inside_body, inside_tumor=None if tumor is None else share(tumor))


def lost_outside(budget: Budget) -> str | None:
    """What to know if much of the change lies outside the body; ``None`` if it does not."""
    inside = None if budget.energy is None else budget.energy.inside_body
    if inside is None or inside >= LEAST_INSIDE_BODY:
        return None
    return (
        f"{1 - inside:.0%} of the squared change lies outside the body, where a recipient can crop or mask it. With "
        "--region body all of it lies inside."
    )
