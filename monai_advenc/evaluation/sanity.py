# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Reject measurements that would be meaningless."""

from __future__ import annotations

import torch
from torch import nn

from monai_advenc.acceleration.gradients import target_gradient
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.manifest import Manifest
from monai_advenc.errors import SanityError
from monai_advenc.evaluation.accuracy import Accuracy
from monai_advenc.networks.training.learned import is_above_chance

LEAST_MOVED = 0.5
"""Minimum share of images with a gradient."""

PROBED = 64


def require_above_chance(accuracy: Accuracy, what: str) -> None:
    """Raise :class:`SanityError` unless a network is clearly better than always predicting the most frequent class.

    A network trained on originals that has learned nothing makes every encryption look perfect.
    """
    commonest = max(sum(row) for row in accuracy.confusion) / accuracy.total
    if not is_above_chance(accuracy.right, accuracy.total, commonest):
        raise SanityError(
            f"{what} has learned nothing: its accuracy on {accuracy.total} images is {accuracy.value:.1%}, and always "
            f"predicting the commonest class gives {commonest:.1%}; train longer, into another folder, or give more "
            "images"
        )


def require_gradients(network: nn.Module, images: ImageSet) -> None:
    """Raise :class:`SanityError` unless a base network has a gradient toward other classes for most images.

    If logits are saturated or activations are dead, the gradient is zero, perturbing changes nothing, and the
    "encrypted" images are the originals.

    Args:
        network: The base network in evaluation mode.
        images: Originals; the first of each class are tested, about 64 images.
    """
    tried = images.first_of_each_class(PROBED)
    device = next(network.parameters()).device
    targets = (tried.labels + 1) % len(images.classes)
    gradients = target_gradient(network, tried.images.to(device), targets.to(device)).flatten(1)
    moved = (gradients.norm(dim=1) > 0).double().mean().item()
    if not moved > LEAST_MOVED:
        raise SanityError(
            f"the base network's gradient is zero or undefined for {1 - moved:.0%} of {len(tried)} images, so they "
            "cannot be perturbed; retrain it with a lower learning rate, or use another architecture"
        )


def require_pairs(encrypted: ImageSet, originals: ImageSet, manifest: Manifest) -> None:
    """Raise :class:`SanityError` if an encrypted image was made from another original than the one of its name.

    Resized images are not compared, nor DICOM, which is read in a window of its own.
    """
    records = {record.id: record for record in manifest.images}
    distances = (encrypted.images - originals.images).flatten(1).norm(dim=1).tolist()
    for name, distance in zip(encrypted.ids, distances, strict=True):
        record = records[name]
        stated = manifest.budget.l2.max if record.l2 is None else record.l2
        is_as_written = record.shape == tuple(encrypted.images.shape[1:])
        if is_as_written and not record.files[0].path.endswith(".dcm") and distance > 2 * stated + 1e-3:
            raise SanityError(
                f"the encrypted image {name!r} is {distance:.3g} (L2) from the original of that name, but {stated:.3g} "
                f"by its manifest; give the originals that the data set was made from"
            )


def require_same_images(encrypted: ImageSet, originals: ImageSet, what: str) -> None:
    """Raise :class:`SanityError` unless two sets hold the same cases and labels, but different pixels."""
    if encrypted.ids != originals.ids or not torch.equal(encrypted.labels, originals.labels):
        raise SanityError(f"the encrypted and the original {what} are not the same images in the same classes")
    if encrypted.images.shape != originals.images.shape:
        shapes = f"{tuple(encrypted.images.shape[1:])} and {tuple(originals.images.shape[1:])}"
        raise SanityError(f"encrypted and original {what} have shapes {shapes}; give --size to resize them")
    if torch.equal(encrypted.images, originals.images):
        raise SanityError(f"the encrypted {what} equal the originals: nothing was encrypted; check the folders")
