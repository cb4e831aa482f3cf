# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Tell whether images that a network is tested on are among those it is trained on.

Pixels decide, and patients where they are known. Names say nothing: exports number the images of every folder alike,
and one image may have two names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator

import torch

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import SanityError

DEPTH = 2**16 - 1
"""Pixels are compared in 16 bits: a file format with more bits, or with floats, does not make another image."""

NAMED = 3
"""Most examples in a message."""


def copies_between(train: ImageSet, test: ImageSet) -> list[tuple[str, str]]:
    """The images of a test set that a training set has too, whatever their names, files and classes.

    Args:
        train: The training images.
        test: The test images, read in the same way (size, colors).

    Returns:
        For each such test image, the name of a training image with its pixels and its own name.
    """
    trained_on = {digest: name for name, digest in zip(train.ids, _digests(train), strict=True)}
    return [
        (trained_on[digest], name)
        for name, digest in zip(test.ids, _digests(test), strict=True)
        if digest in trained_on
    ]


def _digests(images: ImageSet) -> Iterator[bytes]:
    """Equal for images of equal shape and pixels."""
    shape = repr(tuple(images.images.shape[1:])).encode()
    for image in images.images:
        pixels = (image.cpu() * DEPTH).round().to(torch.int32)
        yield hashlib.sha256(shape + pixels.numpy().tobytes()).digest()


def require_disjoint(train: ImageSet, test: ImageSet) -> None:
    """Raise :class:`SanityError` if an image is in both the training and the test set, by its pixels."""
    both = copies_between(train, test)
    if both:
        raise SanityError(
            f"{len(both)} of {len(test)} test images are in both training and test set ({_pairs(both)}); "
            "take them out of one"
        )


def overlap_warnings(train: ImageSet, test: ImageSet, kind: str = "test") -> tuple[str, ...]:
    """Say in one line each what two sets share: pixels, patients.

    Args:
        train: The training images.
        test: The images to test on, read in the same way.
        kind: What they are for: ``"test"`` or ``"validation"``.
    """
    both = copies_between(train, test)
    patients = set(train.patients or ()) & set(test.patients or ())
    sets = f"training and {kind} set"
    lines = []
    if both:
        lines.append(
            f"Careful: {len(both)} of {len(test)} {kind} images have the pixels of a training image ({_pairs(both)}); "
            "accuracies are too high; remove one of each pair."
        )
    if patients:
        tested = sorted(
            name for name, patient in zip(test.ids, test.patients or (), strict=True) if patient in patients
        )
        lines.append(
            f"Careful: {sets} share {len(patients)} patient(s), of {kind} images such as {_few(tested)}; accuracies "
            "are too high; keep all images of a patient in one set."
        )
    return tuple(lines)


def _pairs(both: Collection[tuple[str, str]]) -> str:
    return _few([repr(name) if name == other else f"{name!r} and {other!r}" for name, other in both], quoted=True)


def _few(names: Collection[str], *, quoted: bool = False) -> str:
    shown = [name if quoted else repr(name) for name in list(names)[:NAMED]]
    return ", ".join(shown) + (", ..." if len(names) > NAMED else "")
