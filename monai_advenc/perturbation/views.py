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

from monai_advenc.acceleration.processor import to_device
from monai_advenc.settings import Settings


class Augmentation(Settings):
    """Random views for the gradients of augmentation-aware steps (ours, not part of the paper).

    A perturbation from the gradients of shifted and flipped views still leads to the target class after the shifts and
    flips of a victim's training. It also transfers better to other networks trained without them.

    Attributes:
        max_shift: Largest circular shift in each direction, as a share of the image's side.
        flip: Whether half of the views are mirrored left to right.

    Raises:
        SettingsError: ``max_shift`` is not from 0 to 0.5.

    Example:
        >>> from monai_advenc import Augmentation, PerturbationSettings
        >>> views = Augmentation(max_shift=0.1, flip=False)  # Scans are not mirrored.
        >>> PerturbationSettings(radius=2, step_size=0.5, steps=100, augmentation=views).augmentation.flip
        False
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

    Args:
        moves: From :func:`draw_moves`, for these images.
        images: ``(N, C, H, W)``; only their size, their device, and the order of their values in memory matter.
    """

    def __init__(self, moves: Tensor, images: Tensor) -> None:
        height, width = images.shape[-2:]
        # (steps, 3, N, 1). A whole table on the device: a step takes its row without waiting for the CPU.
        self._moves = to_device(moves.permute(1, 2, 0).unsqueeze(3).contiguous(), images.device).long()
        self._height = torch.arange(height, device=images.device)
        self._width = torch.arange(width, device=images.device)
        self._channels_last = not images.is_contiguous()

    @override
    def look(self, images: Tensor, step: int) -> Tensor:
        down, right, flip = self._moves[step].unbind()
        rows, columns = self._height - down, self._width - right
        return self._take_pixels(images, rows, torch.where(flip.bool(), columns.flip(1), columns))

    @override
    def gradient(self, gradient_at: Callable[[Tensor], Tensor], images: Tensor, step: int) -> Tensor:
        return self.look_back(gradient_at(self.look(images, step)), step)

    def look_back(self, views: Tensor, step: int) -> Tensor:
        """Undo :meth:`look`."""
        down, right, flip = self._moves[step].unbind()
        rows, columns = self._height + down, self._width + right
        # A shifted and mirrored row is undone by the same once more.
        return self._take_pixels(views, rows, torch.where(flip.bool(), (self._width - right).flip(1), columns))

    def _take_pixels(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        rows, columns = rows % len(self._height), columns % len(self._width)
        if not self._channels_last:
            by_row = images.gather(2, rows[:, None, :, None].expand_as(images))
            return by_row.gather(3, columns[:, None, None, :].expand_as(images))
        pixels = images.permute(0, 2, 3, 1)
        by_row = pixels.gather(1, rows[:, :, None, None].expand_as(pixels))
        return by_row.gather(2, columns[:, None, :, None].expand_as(pixels)).permute(0, 3, 1, 2)


def draw_moves(augmentation: Augmentation, seeds: Sequence[int], steps: int, size: tuple[int, int]) -> Tensor:
    """Draw the shifts and flips of so many images and steps; this needs no GPU and may run ahead in another thread.

    Args:
        augmentation: What to draw.
        seeds: One for each image.
        steps: Number of steps.
        size: Height and width of the images.

    Returns:
        Shift down, shift right, and flip (0 or 1): ``(N, steps, 3)``, int16, on the CPU.
    """
    limits = [round(augmentation.max_shift * side) for side in size]
    drawn = torch.zeros(len(seeds), steps, 3, dtype=torch.int16)
    generator = torch.Generator()
    for row, seed in zip(drawn, seeds, strict=True):
        generator.manual_seed(seed)
        for number, limit in enumerate(limits):
            row[:, number] = torch.randint(-limit, limit + 1, (steps,), generator=generator)
        if augmentation.flip:
            row[:, 2] = torch.randint(2, (steps,), generator=generator)
    return drawn
