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
    return move(images, draw_moves(count, (height, width), augmentation, generator).to(images.device))


def draw_moves(
    count: int, size: tuple[int, int], augmentation: TrainingAugmentation, generator: torch.Generator
) -> Tensor:
    """Draw shift down, shift right and flip (0 or 1) of so many images of this height and width, int64 ``(N, 3)``."""
    limits = [min(round(augmentation.max_shift * side), side - 1) for side in size]
    shifts = [torch.randint(-limit, limit + 1, (count,), generator=generator) for limit in limits]
    flips = torch.rand(count, generator=generator) < 0.5 if augmentation.flip else torch.zeros(count)
    return torch.stack([*shifts, flips.long()], dim=1)


def move(images: Tensor, moves: Tensor) -> Tensor:
    """Shift and flip images ``(N, C, H, W)`` by :func:`draw_moves`, on the same device; borders are mirrored."""
    height, width = images.shape[-2:]
    down, right, flips = moves.unsqueeze(2).unbind(dim=1)
    rows, columns = _shifted(height, down), _shifted(width, right)
    columns = torch.where(flips.bool(), columns.flip(1), columns)
    by_row = images.gather(2, rows[:, None, :, None].expand_as(images))
    return by_row.gather(3, columns[:, None, None, :].expand_as(images))


def _shifted(side: int, shifts: Tensor) -> Tensor:
    """Source line of each line, ``(count, side)``, mirrored at the border."""
    lines = (torch.arange(side, device=shifts.device) + shifts).abs()
    return (side - 1) - ((side - 1) - lines).abs()
