# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""How many versions go through the network together, by one rule for all commands, transforms and bundles.

A processor may sum in another order for another batch size, and PGD amplifies the last bit. So the number must not
depend on the memory that happens to be free: a run next to another job could not be resumed without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import torch
from torch import nn

from monai_advenc.acceleration.gradients import target_gradient
from monai_advenc.acceleration.memory import memory_for
from monai_advenc.acceleration.processor import device_of
from monai_advenc.errors import DeviceMemoryError

BATCH_SIZE: Final = 8
"""Versions per pass on a CPU. The last batch is padded to it. A larger size is hardly faster there."""

PIXELS_PER_PASS: Final = 2**21
"""Pixels per pass on a GPU: 2048 images of 32 x 32. Not measured on a GPU yet."""

FEWEST, MOST = 32, 2048
"""Bounds of the number of versions per pass on a GPU."""

Noted = int | Literal["by shape", "half by shape"]
"""A batch size as headers note it."""


@dataclass(frozen=True)
class BatchSize:
    """Versions per pass for images of each shape.

    Attributes:
        fixed: The number for all shapes; ``None``: the largest power of two whose pixels fit into
            :data:`PIXELS_PER_PASS`, from :data:`FEWEST` to :data:`MOST`.
        halved: Whether half of that number is taken, because all of it did not fit into the memory.
    """

    fixed: int | None = BATCH_SIZE
    halved: bool = False

    @classmethod
    def on(cls, device_type: str) -> BatchSize:
        """The rule for a type of device, such as ``"cuda"``."""
        return cls() if device_type == "cpu" else cls(None)

    @classmethod
    def noted(cls, noted: Noted) -> BatchSize:
        """The batch size that a header notes."""
        return cls(noted) if isinstance(noted, int) else cls(None, halved=noted != "by shape")

    @property
    def note(self) -> Noted:
        """What a header notes."""
        if self.fixed is not None:
            return self.fixed
        return "half by shape" if self.halved else "by shape"

    def of(self, image_shape: Sequence[int] | None) -> int:
        """Versions per pass for images ``(C, H, W)``; the fewest if the shape is unknown."""
        if self.fixed is not None:
            return self.fixed
        fitting = FEWEST if image_shape is None else PIXELS_PER_PASS // (image_shape[-2] * image_shape[-1])
        return min(MOST, max(FEWEST, 1 << max(0, fitting.bit_length() - 1))) >> self.halved


def versions_per_pass(network: nn.Module, image_shape: Sequence[int]) -> int:
    """Versions per pass by the rule for the network's device; see :class:`BatchSize`."""
    return BatchSize.on(device_of(network).type).of(image_shape)


def fitting_batch_size(network: nn.Module, image_shape: tuple[int, int, int], wanted: BatchSize) -> BatchSize:
    """Try one pass of the prepared network, and halve the batch once if the GPU's memory is too small.

    Args:
        network: As for :func:`monai_advenc.perturbation.pgd.perturb`.
        image_shape: ``(C, H, W)``.
        wanted: The batch size to try; a fixed one is not halved.

    Raises:
        DeviceMemoryError: The memory is too small.
    """
    device = device_of(network)
    if device.type == "cpu":
        return wanted
    try:
        count = wanted.of(image_shape)
        images = torch.zeros(count, *image_shape, device=device)
        with memory_for(f"{count} images of {image_shape[-2]} x {image_shape[-1]} pixels at a time"):
            target_gradient(network, images, torch.zeros(count, dtype=torch.int64, device=device))
        return wanted
    except DeviceMemoryError:
        if wanted.fixed is not None or wanted.halved:
            raise
    return fitting_batch_size(network, image_shape, replace(wanted, halved=True))
