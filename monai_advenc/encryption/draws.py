# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Random choices for images: views of their steps, and seeds of their combination.

They depend on the key and the image only, so that a thread that reads images can make them before a GPU needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.perturbation.views import draw_moves


@dataclass(frozen=True)
class Draws:
    """All random choices for N images.

    Attributes:
        layout: Seeds of the combiner, one for each image.
        moves: Views of each version, ``(N, T, steps, 3)``, on the CPU; ``None`` for plain steps, which have none.
    """

    layout: tuple[int, ...]
    moves: Tensor | None

    @classmethod
    def of(cls, key: EncryptionKey, images: Tensor) -> Draws:
        """Draw for images ``(N, C, H, W)``."""
        return cls(tuple(key.image_seeds("layout", images)), moves_of_versions(key, images))

    @classmethod
    def joined(cls, parts: Sequence[Draws]) -> Draws:
        """The choices of several batches for one batch with all of their images."""
        moves = [part.moves for part in parts if part.moves is not None]
        return cls(tuple(seed for part in parts for seed in part.layout), torch.cat(moves) if moves else None)


def moves_of_versions(key: EncryptionKey, images: Tensor) -> Tensor | None:
    """Draw the views of each version of images ``(N, C, H, W)``, see :class:`Draws`."""
    plan = key.perturbation
    if plan.augmentation is None:
        return None
    size = (images.shape[-2], images.shape[-1])
    slots = [key.image_seeds(f"views {slot}", images) for slot in range(key.correspondence.num_targets)]
    return torch.stack([draw_moves(plan.augmentation, seeds, plan.steps, size) for seeds in slots], dim=1)
