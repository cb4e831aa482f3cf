# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Training as usual, and training as usual in other ways: stopped early, longer, without augmentation, shallow."""

from __future__ import annotations

from typing import Final

from torch import nn

from monai_advenc.attackers.countermeasures.attacker import Attacker, Knowledge, Resources, learn
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.networks.training import TrainingSettings

LONGER, EARLIER = 3, 4
"""Times the usual epochs, and the part of them."""


def usual(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Train as usual."""
    return learn(encrypted, resources, seed)


def chosen_epoch(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Train as usual and keep the epoch that is best on the attacker's clean images."""
    return learn(encrypted, resources, seed, chosen_by=resources.clean)


def stopped_early(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Train for a fourth of the epochs."""
    return learn(encrypted, resources, seed, settings=_with_epochs(resources, resources.training.epochs // EARLIER))


def long(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Train for three times the epochs."""
    return learn(encrypted, resources, seed, settings=_with_epochs(resources, resources.training.epochs * LONGER))


def without_augmentation(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Train on the images as they are, never shifted or flipped."""
    return learn(encrypted, resources, seed, settings=resources.training.model_copy(update={"augmentation": None}))


def _with_epochs(resources: Resources, epochs: int) -> TrainingSettings:
    return resources.training.model_copy(update={"epochs": max(1, epochs)})


PLAIN: Final[tuple[Attacker, ...]] = (
    Attacker(name="usual", title="training as usual", attack=usual, source="Hu et al. 2020"),
    Attacker(
        name="chosen-epoch",
        title="training as usual with the epoch chosen by 1 % clean images",
        attack=chosen_epoch,
        knowledge=Knowledge(clean=0.01),
        alone="clean-1-alone",
        source="Sandoval-Segura et al. 2022, arXiv 2204.08615",
    ),
    Attacker(
        name="early-stop",
        title="training that stops early",
        attack=stopped_early,
        cost=0.25,
        settings={"share_of_epochs": 1 / EARLIER},
        source="Sandoval-Segura et al. 2022, arXiv 2204.08615",
    ),
    Attacker(
        name="long",
        title="training for three times the epochs",
        attack=long,
        cost=3,
        settings={"times_the_epochs": LONGER},
        source="APBench, arXiv 2308.03258",
    ),
    Attacker(
        name="no-augmentation",
        title="training without augmentation",
        attack=without_augmentation,
        source="Fowl et al. 2021, arXiv 2106.10807",
    ),
    Attacker(
        name="shallow",
        title="a network of three layers",
        attack=usual,
        cost=0.4,
        network="shallow",
        source="MI-UE, ICLR 2026",
    ),
)
