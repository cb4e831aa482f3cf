# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Labeled images in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_advenc.errors import DatasetError


@dataclass(frozen=True)
class ImageSet:
    """Images of one shape with their labels.

    Attributes:
        images: ``(N, C, H, W)``, float32 in [0, 1].
        labels: ``(N,)``, int64, indices into ``classes``.
        ids: One name per image, unique.
        classes: Class names.
        masks: Region masks ``(N, 1, H, W)``, bool, or ``None``.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    masks: Tensor | None = None

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.labels) == len(self.ids):
            counts = f"{len(self.images)}, {len(self.labels)} and {len(self.ids)}"
            raise DatasetError(f"expected as many images as labels and ids, got {counts}")

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Sequence[int] | Tensor) -> ImageSet:
        """The images at ``indices``, in that order."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return ImageSet(
            self.images[rows],
            self.labels[rows],
            tuple(self.ids[row] for row in rows.tolist()),
            self.classes,
            None if self.masks is None else self.masks[rows],
        )

    def with_ids(self, ids: Sequence[str]) -> ImageSet:
        """The images called ``ids``, in that order.

        Raises:
            DatasetError: An image is missing.
        """
        place = {name: row for row, name in enumerate(self.ids)}
        missing = [name for name in ids if name not in place]
        if missing:
            raise DatasetError(
                f"{len(missing)} images are missing, among them {missing[0]!r}; give the matching folder"
            )
        return self.subset([place[name] for name in ids])

    def split(self, fraction: float, seed: int = 0) -> tuple[ImageSet, ImageSet]:
        """Split at random, class by class.

        Args:
            fraction: Share of each class that goes to the second part, at least one image and never all.
            seed: Decides which.

        Returns:
            The larger and the smaller part.

        Raises:
            DatasetError: A class has fewer than two images.
        """
        generator = torch.Generator().manual_seed(seed)
        kept, split_off = [], []
        for label, name in enumerate(self.classes):
            members = (self.labels == label).nonzero().flatten()
            if len(members) < 2:
                raise DatasetError(
                    f"class {name!r} has {len(members)} image(s), too few to split off a validation set; add some"
                )
            count = min(max(1, round(fraction * len(members))), len(members) - 1)
            members = members[torch.randperm(len(members), generator=generator)]
            kept.append(members[count:])
            split_off.append(members[:count])
        return self.subset(torch.cat(kept).sort().values), self.subset(torch.cat(split_off).sort().values)
