# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Remove what all images of a class share: class means, and the directions of a linear classifier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.attackers.countermeasures.attacker import Attacker, Resources, learn
from monai_advenc.data.images.image_set import ImageSet

_EPOCHS, _RATE, _BATCH, _LEAST_STEPS, _SMALL = 20, 1.0, 1024, 200, 1e-4


def without_class_means(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Move each image by the difference between the mean of all images and that of its class, then train as usual."""
    return learn(centered(encrypted), resources, seed)


def centered(images: ImageSet) -> ImageSet:
    """Images whose classes all have the same mean image."""
    means = torch.stack([images.images[images.labels == label].mean(dim=0) for label in range(len(images.classes))])
    moved = images.images - means[images.labels] + images.images.mean(dim=0)
    return replace(images, images=moved.clamp(0, 1))


@dataclass(frozen=True, eq=False)
class Projection:
    """Remove some directions from images, in training and in images to classify.

    Attributes:
        directions: Orthonormal columns, ``(C H W, K)``.
        mean: Image that stays as it is, ``(C, H, W)``.
    """

    directions: Tensor
    mean: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``."""
        moved = (images - self.mean).flatten(1)
        return (images.flatten(1) - moved @ self.directions @ self.directions.T).reshape(images.shape)


def projected(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Remove the directions by which a linear classifier tells the classes apart, then train as usual."""
    return learn(encrypted, resources, seed, image_filter=class_directions(encrypted, seed))


def class_directions(images: ImageSet, seed: int) -> Projection:
    """The directions of a linear classifier without bias, made orthonormal (Sandoval-Segura et al. 2023).

    Weights start at zero, so that they lie in the span of the images and nothing random is removed.
    """
    mean = images.images.mean(dim=0)
    data, draws = (images.images - mean).flatten(1), torch.Generator().manual_seed(seed)
    linear = nn.Linear(data.shape[1], len(images.classes), bias=False)
    nn.init.zeros_(linear.weight)
    optimizer = torch.optim.SGD(linear.parameters(), lr=_RATE)
    batches = -(-len(data) // _BATCH)
    for _ in range(max(_EPOCHS, _LEAST_STEPS // batches)):
        for rows in torch.randperm(len(data), generator=draws).tensor_split(batches):
            optimizer.zero_grad()
            functional.cross_entropy(linear(data[rows]), images.labels[rows]).backward()
            optimizer.step()
    # One direction fewer than classes: the rows of the weights sum to zero.
    directions, sizes, _ = torch.linalg.svd(linear.weight.detach().T, full_matrices=False)
    return Projection(directions[:, sizes > _SMALL * sizes.max()], mean)


STRUCTURE: Final[tuple[Attacker, ...]] = (
    Attacker(
        name="class-means",
        title="subtracting class means",
        attack=without_class_means,
        source="Reviewers' test for class-wise noise; BAIT, arXiv 2603.04731",
    ),
    Attacker(
        name="orthogonal-projection",
        title="orthogonal projection",
        attack=projected,
        cost=1.1,
        settings={"epochs": _EPOCHS},
        source="Sandoval-Segura et al. 2023, arXiv 2305.19254",
    ),
)
