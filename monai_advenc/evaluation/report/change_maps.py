# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Where the images of each class changed on average."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ChangeMap:
    """Mean absolute change of each pixel ``(H, W)`` over the images of a class."""

    title: str
    mean: Tensor
    images: int


class ChangeMaps:
    """A map for each class, over its images that have the size of its first."""

    def __init__(self) -> None:
        self._maps: dict[str, ChangeMap] = {}

    def fits(self, label: str, shape: tuple[int, ...]) -> bool:
        """Whether an image of this class and size ``(H, W)`` would count."""
        return label not in self._maps or tuple(self._maps[label].mean.shape) == tuple(shape)

    def add(self, label: str, image: Tensor, original: Tensor) -> None:
        """Take in an image ``(C, H, W)`` of a class and its original; another size than the first's does not count."""
        if not self.fits(label, image.shape[1:]):
            return
        change = (image - original).abs().mean(dim=0)
        earlier = self._maps.get(label, ChangeMap(label, torch.zeros_like(change), 0))
        count = earlier.images + 1
        self._maps[label] = ChangeMap(label, earlier.mean + (change - earlier.mean) / count, count)

    @property
    def maps(self) -> list[ChangeMap]:
        """The maps in the order of the class names."""
        return [self._maps[label] for label in sorted(self._maps)]
