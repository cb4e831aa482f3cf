# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train as usual on filtered images, and filter the images to classify in the same way."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from monai_advenc.attackers.countermeasures.attacker import Attacker, ImageFilter, Resources, learn
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.progress import Value


@dataclass(frozen=True)
class TrainingOnFiltered:
    """Train as usual behind a filter.

    Attributes:
        image_filter: The filter.
    """

    image_filter: ImageFilter

    def __call__(self, encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
        """Return the filter and the network as one network."""
        return learn(encrypted, resources, seed, image_filter=self.image_filter)


def filter_attacker(
    name: str, title: str, image_filter: ImageFilter, source: str, *, cost: float = 1.1, **settings: Value
) -> Attacker:
    """The attacker that trains as usual behind a filter."""
    return Attacker(
        name=name, title=title, attack=TrainingOnFiltered(image_filter), cost=cost, settings=settings, source=source
    )
