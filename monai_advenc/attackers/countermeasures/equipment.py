# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Give an attacker what it is assumed to know, and no more."""

from __future__ import annotations

from dataclasses import replace

from monai_advenc.attackers.countermeasures.attacker import Attacker, Resources
from monai_advenc.data.images.image_set import ImageSet


def equip(
    attacker: Attacker, encrypted: ImageSet, originals: ImageSet, resources: Resources, seed: int
) -> tuple[ImageSet, Resources]:
    """Split off the attacker's own clean images, and take away what it does not have.

    Own clean images are originals of training images. Their encrypted versions, and those of the same patients, are not
    among the images that the attacker gets, as if they came from another place.

    Args:
        attacker: Who attacks.
        encrypted: Training images.
        originals: The same images before encryption, in the same order.
        resources: Everything that any attacker could have.
        seed: Decides which images are the attacker's.

    Returns:
        The encrypted images and the resources to call the attack with.
    """
    known, clean = attacker.knowledge, None
    if known.clean:
        smallest = int(originals.labels.bincount(minlength=len(originals.classes)).min())
        # Training takes two images of each class.
        rest, clean = originals.split(max(known.clean, 2 / smallest), seed)
        encrypted = encrypted.with_ids(rest.ids)
        clean = at_least_two_of_each_class(clean)
    return encrypted, replace(
        resources,
        network=attacker.network or resources.network,
        clean=clean,
        other=resources.other if known.other else None,
        pretrained=resources.pretrained if known.other else None,
        owner=resources.owner if known.key or known.base else None,
        radius=resources.radius if known.method else None,
    )


def at_least_two_of_each_class(images: ImageSet) -> ImageSet:
    """The images, all of them twice if a class has only one."""
    return images if int(images.labels.bincount(minlength=len(images.classes)).min()) > 1 else images.joined(images)
