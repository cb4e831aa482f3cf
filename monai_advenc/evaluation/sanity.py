# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Refusing measurements that would mean nothing."""

from __future__ import annotations

import torch
from torch import nn

from monai_advenc.acceleration.gradients import target_gradient
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import SanityError
from monai_advenc.evaluation.accuracy import Accuracy

LEAST_MOVED = 0.5
"""Share of images that must have a gradient."""


def require_above_chance(accuracy: Accuracy, what: str) -> None:
    """Raise unless a network is clearly better than always naming the most frequent class.

    A clean-trained network that has learned nothing makes every encryption look perfect.
    """
    commonest = max(sum(row) for row in accuracy.confusion) / accuracy.total
    if accuracy.interval[0] <= commonest:
        raise SanityError(
            f"{what} is right on {accuracy.value:.1%} of {accuracy.total} images, where naming the commonest class is "
            f"right on {commonest:.1%}: it has learned nothing to lose; train longer, into another folder, or give "
            "more images"
        )


def require_gradients(network: nn.Module, images: ImageSet, *, probe: int = 64) -> None:
    """Raise unless a base network's gradients show the way to other classes for most images.

    Where logits are saturated or an activation is dead the gradient is zero, perturbing changes nothing, and the
    "encrypted" images are the originals.

    Args:
        network: The base network in evaluation mode.
        images: Originals; the first of each class are tried.
        probe: About how many.
    """
    tried = images.first_of_each_class(probe)
    device = next(network.parameters()).device
    targets = (tried.labels + 1) % len(images.classes)
    gradients = target_gradient(network, tried.images.to(device), targets.to(device)).flatten(1)
    moved = (gradients.norm(dim=1) > 0).double().mean().item()
    if not moved > LEAST_MOVED:
        raise SanityError(
            f"the base network's gradient is zero or undefined for {1 - moved:.0%} of {len(tried)} images, so they "
            "cannot be perturbed; train it anew with a lower learning rate, or take another architecture"
        )


def require_same_images(encrypted: ImageSet, originals: ImageSet, what: str) -> None:
    """Raise unless two sets hold the same cases with the same labels, but not the same pixels."""
    if encrypted.ids != originals.ids or not torch.equal(encrypted.labels, originals.labels):
        raise SanityError(f"the encrypted and the original {what} are not the same images in the same classes")
    if encrypted.images.shape != originals.images.shape:
        shapes = f"{tuple(encrypted.images.shape[1:])} and {tuple(originals.images.shape[1:])}"
        raise SanityError(f"encrypted and original {what} have shapes {shapes}; give --size to bring them to one")
    if torch.equal(encrypted.images, originals.images):
        raise SanityError(f"the encrypted {what} equal the originals: nothing was encrypted; check the folders")


def require_disjoint(train: ImageSet, test: ImageSet) -> None:
    """Raise if a case is both trained and tested on."""
    both = sorted(set(train.ids) & set(test.ids))
    if both:
        raise SanityError(f"{len(both)} cases are in both training and test set, among them {both[0]!r}; split them")
