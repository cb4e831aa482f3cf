# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures 3 and 4: the combination of versions, and originals above encrypted images with the tumor boxed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.combiners import CombinerSettings, combine
from monai_advenc.encryption.encrypt_batch import combine_versions, perturb_toward_targets
from monai_advenc.errors import DatasetError
from monai_advenc.evaluation.report.figures import DIFFERENCE_GAIN, Panel, difference, picture_grid
from monai_advenc.experiments.paper.laboratory import Laboratory

CONCAT = "horizontal-concat"
MOST_CLASSES = 6
"""Maximum number of columns in figure 4."""


def draw_combination(laboratory: Laboratory, seed: int) -> bytes:
    """Draw figure 3 as PNG: both versions of one image, their Horizontal Concat and Mixup, every change amplified."""
    chosen = one_of_each_class(laboratory.originals["test"]).subset([0])
    original, versions = chosen.images, _versions(laboratory, chosen, seed)
    settings = laboratory.settings.perturbation.at_size(*original.shape[-2:])
    rows = []
    for title, combiner in (("Horizontal Concat", CONCAT), ("Mixup", "mixup")):
        even = CombinerSettings.default(combiner, len(chosen.classes))
        combined = combine(even, original, versions, chosen.labels, radius=settings.radius, norm=settings.norm)
        steps = {"image 1": versions[0, 0], "image 2": versions[0, 1], "combined": combined[0]}
        pictures = [Panel("original", original[0]), *(Panel(name, image) for name, image in steps.items())]
        changes = [Panel("", torch.full_like(original[0], 0.5))]
        changes += [Panel("", difference(image, original[0])) for image in steps.values()]
        rows += [(title, pictures), (f"change x {DIFFERENCE_GAIN}", changes)]
    return picture_grid(rows)


def draw_examples(laboratory: Laboratory, seed: int) -> bytes:
    """Draw figure 4 as PNG: a test image of each class above its encrypted version, boxed if there is a mask."""
    chosen = one_of_each_class(laboratory.originals["test"])
    encrypted = combine_versions(
        laboratory.key(CONCAT, seed), chosen.images, _versions(laboratory, chosen, seed), chosen.labels, levels=255
    )
    masks = [None] * len(chosen) if chosen.masks is None else list(chosen.masks)
    names = [chosen.classes[label] for label in chosen.labels.tolist()]
    originals = [Panel(*panel) for panel in zip(names, chosen.images, masks, strict=True)]
    return picture_grid([("original", originals), ("encrypted", [Panel("", image) for image in encrypted])])


FIGURES: Mapping[int, Callable[[Laboratory, int], bytes]] = MappingProxyType({3: draw_combination, 4: draw_examples})
"""Figures with images by their numbers; each takes a seed."""


def one_of_each_class(images: ImageSet) -> ImageSet:
    """Select the first image of each of the first classes.

    Raises:
        DatasetError: A class has no image.
    """
    missing = [name for label, name in enumerate(images.classes) if label not in images.labels]
    if missing:
        raise DatasetError(f"there is no test image of class {missing[0]!r} to show; add one")
    first = [int((images.labels == label).nonzero()[0]) for label in range(len(images.classes))]
    return images.subset(first[:MOST_CLASSES])


def _versions(laboratory: Laboratory, images: ImageSet, seed: int) -> Tensor:
    base = laboratory.network(laboratory.base(seed)).network
    channels, height, width = images.images.shape[1:]
    key = laboratory.key(CONCAT, seed)
    network = prepare(base, (channels, height, width), steps=key.perturbation.steps)
    place = laboratory.device
    return perturb_toward_targets(key, network, images.images.to(place), images.labels.to(place)).cpu()
