# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Check images and network before the first training step."""

from __future__ import annotations

import torch
from torch import nn

from monai_advenc.acceleration.memory import is_out_of_memory
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import DatasetError, NetworkError
from monai_advenc.perturbation.pgd import require_pixels


def check_sets(train_set: ImageSet, validation_set: ImageSet | None) -> None:
    """Raise :class:`DatasetError` unless every class has two training images and one validation image, if any."""
    _require_images(train_set, 2, "training")
    if validation_set is not None:
        if validation_set.classes != train_set.classes:
            raise DatasetError(
                f"expected the training set's classes {', '.join(train_set.classes)} in the validation set, "
                f"got {', '.join(validation_set.classes)}; read both with one list of classes"
            )
        _require_images(validation_set, 1, "validation")


def _require_images(images: ImageSet, least: int, purpose: str) -> None:
    counts = images.labels.bincount(minlength=len(images.classes)).tolist()
    for name, count in zip(images.classes, counts, strict=True):
        if count < least:
            raise DatasetError(
                f"expected at least {least} {purpose} image(s) of class {name!r}, got {count}; "
                "add images or remove the class"
            )
    require_pixels(images.images)


@torch.no_grad()
def require_fit(network: nn.Module, images: ImageSet, device: torch.device) -> None:
    """Raise :class:`NetworkError` unless the network gives one logit per class; set it to evaluation mode."""
    try:
        shape = tuple(network.eval()(images.images[:1].to(device)).shape)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise NetworkError(
            f"the network does not accept images {tuple(images.images.shape[1:])} of {images.images.dtype}; "
            "build it for these channels and this size, and give float32 images"
        ) from None
    if shape != (1, len(images.classes)):
        raise NetworkError(
            f"expected {len(images.classes)} logits, one per class, got {shape[-1]}; "
            f"build the network with num_classes={len(images.classes)}"
        )
