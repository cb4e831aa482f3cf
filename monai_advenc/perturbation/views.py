# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Views: random shifts and flips for the gradients of augmentation-aware steps (ours, not part of the paper)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from monai_advenc.settings import Settings


class Augmentation(Settings):
    """Random views for the gradients of augmentation-aware steps (ours, not part of the paper).

    A perturbation from the gradients of shifted and flipped views still leads to the target class after the shifts and
    flips of a victim's training. It also transfers better to other networks trained without them.

    Attributes:
        max_shift: Largest circular shift in each direction, as a share of the image's side.
        flip: Whether half of the views are mirrored left to right.
    """

    max_shift: float = Field(default=0.05, ge=0, le=0.5)
    flip: bool = True


class Views(ABC):
    """Differentiable maps of the images of a batch, one for each image and step, drawn from the image's own seed."""

    @abstractmethod
    def look(self, images: Tensor, step: int) -> Tensor:
        """Return the views of ``images`` ``(N, C, H, W)`` in this step, counted from 0."""

    def gradient(self, gradient_at: Callable[[Tensor], Tensor], images: Tensor, step: int) -> Tensor:
        """Compute the gradient with respect to ``images`` of a loss of their views in this step.

        Args:
            gradient_at: Maps views to the gradient of their losses.
            images: ``(N, C, H, W)``.
            step: Counted from 0.
        """
        with torch.enable_grad():
            images = images.detach().requires_grad_(True)
            seen = self.look(images, step)
            (gradient,) = torch.autograd.grad(seen, images, gradient_at(seen.detach()))
        return gradient

    def seen_inside(self, inside: Tensor) -> Tensor | None:
        """Return the place of a mask's pixels in the views; ``None`` if it is unknown, as for pixels that move."""
        return None


class SameView(Views):
    """Unchanged images: the paper's plain steps."""

    @override
    def look(self, images: Tensor, step: int) -> Tensor:
        return images

    @override
    def gradient(self, gradient_at: Callable[[Tensor], Tensor], images: Tensor, step: int) -> Tensor:
        return gradient_at(images)

    @override
    def seen_inside(self, inside: Tensor) -> Tensor | None:
        return inside


class RandomViews(Views):
    """Random shifts and flips.

    A shift or flip permutes the pixels, so its gradient is the gradient of the view, permuted back.
    """

    def __init__(self, augmentation: Augmentation, seeds: Sequence[int], steps: int, images: Tensor) -> None:
        height, width = images.shape[-2:]
        limits = (round(augmentation.max_shift * height), round(augmentation.max_shift * width))
        draws = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            rows = torch.randint(-limits[0], limits[0] + 1, (steps,), generator=generator)
            columns = torch.randint(-limits[1], limits[1] + 1, (steps,), generator=generator)
            flips = torch.randint(2, (steps,), generator=generator) * int(augmentation.flip)
            draws.append(torch.stack([rows, columns, flips]))
        self._draws = torch.stack(draws, dim=2).to(images.device)  # (3, steps, N)
        self._height = torch.arange(height, device=images.device)
        self._width = torch.arange(width, device=images.device)

    @override
    def look(self, images: Tensor, step: int) -> Tensor:
        rows, columns = self._indices(step)
        return _take_pixels(images, rows, columns)

    @override
    def gradient(self, gradient_at: Callable[[Tensor], Tensor], images: Tensor, step: int) -> Tensor:
        return self.look_back(gradient_at(self.look(images, step)), step)

    def look_back(self, views: Tensor, step: int) -> Tensor:
        """Undo :meth:`look`."""
        rows, columns = self._indices(step)
        return _take_pixels(views, rows.argsort(dim=1), columns.argsort(dim=1))

    def _indices(self, step: int) -> tuple[Tensor, Tensor]:
        down, right, flip = self._draws[:, step, :, None]
        rows = (self._height - down) % len(self._height)
        columns = (self._width - right) % len(self._width)
        return rows, torch.where(flip.bool(), columns.flip(1), columns)


def _take_pixels(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    by_row = images.gather(2, rows[:, None, :, None].expand_as(images))
    return by_row.gather(3, columns[:, None, None, :].expand_as(images))


def draw_views(augmentation: Augmentation | None, seeds: Sequence[int] | None, steps: int, images: Tensor) -> Views:
    """Draw views for each of ``images`` ``(N, C, H, W)`` and each step; without augmentation, the unchanged images."""
    if augmentation is None or seeds is None:
        return SameView()
    return RandomViews(augmentation, seeds, steps, images)
