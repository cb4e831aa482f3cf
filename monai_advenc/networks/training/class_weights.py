# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Weights of the classes in the loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import SettingsError


def class_weights(train_set: ImageSet, weights: tuple[float, ...] | Literal["balanced"] | None) -> Tensor:
    """Compute the weight of each class in the loss, ``(K,)``; all one for ``None``."""
    count = len(train_set.classes)
    if weights is None:
        return torch.ones(count)
    if weights == "balanced":
        return len(train_set) / (count * train_set.labels.bincount(minlength=count).float())
    if len(weights) != count or min(weights) < 0 or sum(weights) == 0:
        raise SettingsError(f"expected {count} class weights >= 0, not all zero, got {list(weights)}")
    return torch.tensor(weights)
