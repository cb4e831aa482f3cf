# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Random shifts and flips of training images, drawn and applied for a whole batch at once."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from monai_advenc.settings import Settings


class TrainingAugmentation(Settings):
    """Random changes of training images in each epoch.

    Attributes:
        max_shift: Largest shift in each direction, as a share of the image's side; borders are mirrored.
        flip: Whether half of the images are mirrored left to right.
    """

    max_shift: float = Field(default=1 / 16, ge=0, le=0.5)
    flip: bool = True


def shift_and_flip(images: Tensor, augmentation: TrainingAugmentation, generator: torch.Generator) -> Tensor:
    """Shift and flip each image randomly.

    Args:
        images: ``(N, C, H, W)``.
        augmentation: Largest shift, and whether to flip.
        generator: A generator of the CPU, so that the draws are the same on every device.

    Returns:
        A new tensor of the same shape; every pixel comes from the same image.
    """
    count, _, height, width = images.shape
    rows = _shifted(height, count, augmentation.max_shift, generator)
    columns = _shifted(width, count, augmentation.max_shift, generator)
    if augmentation.flip:
        flipped = torch.rand(count, generator=generator) < 0.5
        columns = torch.where(flipped[:, None], columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    by_row = images.gather(2, rows[:, None, :, None].expand_as(images))
    return by_row.gather(3, columns[:, None, None, :].expand_as(images))


def _shifted(side: int, count: int, max_shift: float, generator: torch.Generator) -> Tensor:
    """Source line of each line, ``(count, side)``, mirrored at the border."""
    limit = min(round(max_shift * side), side - 1)
    shifts = torch.randint(-limit, limit + 1, (count, 1), generator=generator)
    lines = (torch.arange(side) + shifts).abs()
    return (side - 1) - ((side - 1) - lines).abs()
