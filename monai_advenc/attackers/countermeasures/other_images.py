# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Images of another kind that anyone can make: slices of phantom brains with tumors."""

from __future__ import annotations

import torch

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.phantoms.volume import FULL_SCALE, PHANTOM_CLASSES, Difficulty, phantom_volume
from monai_advenc.data.volumes.cross_section import largest_cross_section

_SLICES = 8


def phantom_slices(shape: tuple[int, int, int], of_each_class: int, seed: int = 0) -> ImageSet:
    """Cut phantoms at the largest cross-section of their tumor.

    Args:
        shape: Channels, height and width of the images; all channels are equal.
        of_each_class: Number of images of each of five classes.
        seed: Seed of the phantoms.
    """
    channels, height, width = shape
    images, labels, clear = [], [], Difficulty(contrast=1, noise=0.02, overlap=0)
    for label in range(len(PHANTOM_CLASSES)):
        for index in range(of_each_class):
            voxels, mask, _ = phantom_volume(label, seed, index, (width, height, _SLICES), clear)
            level = largest_cross_section(mask)
            plane = torch.from_numpy(voxels[:, :, level].T[::-1].copy()).float() / FULL_SCALE
            images.append(plane.clamp(0, 1).expand(channels, height, width))
            labels.append(label)
    ids = tuple(f"phantom-{row}" for row in range(len(images)))
    return ImageSet(torch.stack(images), torch.tensor(labels), ids, PHANTOM_CLASSES)
