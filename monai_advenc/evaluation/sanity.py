# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Refusing measurements that would mean nothing."""

from __future__ import annotations

import torch

from monai_advenc.datasets.image_set import ImageSet
from monai_advenc.errors import SanityError
from monai_advenc.evaluation.accuracy import Accuracy


def require_above_chance(accuracy: Accuracy, what: str) -> None:
    """Raise unless a network is clearly better than always naming the most frequent class.

    A clean-trained network that has learned nothing makes every encryption look perfect.
    """
    commonest = max(sum(row) for row in accuracy.confusion) / accuracy.total
    if accuracy.interval[0] <= commonest:
        raise SanityError(
            f"{what} is right on {accuracy.value:.1%} of {accuracy.total} images, where naming the commonest class is "
            f"right on {commonest:.1%}: it has learned nothing to lose; train longer or give more images"
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
