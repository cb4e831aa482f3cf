# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Add a few own clean images: mixed in, for fine-tuning, and alone as the measure of what the encrypted images add."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Final, Literal

from torch import nn

from monai_advenc.attackers.countermeasures.attacker import Attacker, Knowledge, Resources, ignored, learn
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import SettingsError
from monai_advenc.networks.features import last_linear
from monai_advenc.networks.training import TrainingSettings

MIXED_SHARE: Final = 1 / 3
"""Share of clean images in the mixture, after repeating them."""

FINE_TUNING: Final = TrainingSettings(epochs=20, batch_size=16, peak_learning_rate=0.02, standardize=False)

SHARES: Final = (0.005, 0.01, 0.05)

LARGE_SHARE: Final = 0.2
"""Share of clean images of attackers who make pairs or train an own base network."""

Layers = Literal["all", "last", "first"]

_DILUTION: Final = "BridgePure, arXiv 2412.21061"
_FINE_TUNING_SOURCE: Final = "Deep feature reweighting, arXiv 2305.19254"


def own_images(resources: Resources) -> ImageSet:
    """The attacker's clean images.

    Raises:
        SettingsError: It has none.
    """
    if resources.clean is None:
        raise SettingsError("this attacker needs clean images of its own, got none; see equip")
    return resources.clean


def alone(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Train on the own clean images and nothing else, at least 250 steps."""
    own = own_images(resources)
    return learn(own, resources, seed, settings=TrainingSettings().enough_for(len(own)))


def mixed(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Train as usual on the encrypted images and the own clean ones, repeated until they are a third of all."""
    own = own_images(resources)
    times = max(1, math.ceil(MIXED_SHARE / (1 - MIXED_SHARE) * len(encrypted) / len(own)))
    return learn(reduce(ImageSet.joined, [own] * times, encrypted), resources, seed)


@dataclass(frozen=True)
class FineTuning:
    """Train as usual on the encrypted images, then go on with the own clean ones at a small rate.

    Attributes:
        layers: Which layers go on learning: all, the last one, or all but the last one.
    """

    layers: Layers

    def __call__(self, encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
        """Observe the second part only."""
        victim = learn(encrypted, unobserved(resources), seed)
        return fine_tune(victim, own_images(resources), resources, seed, self.layers)


def fine_tune(victim: nn.Module, own: ImageSet, resources: Resources, seed: int, layers: Layers = "all") -> nn.Module:
    """Go on training a copy of a network on own images, all layers or some.

    Args:
        victim: A trained network.
        own: Labeled images.
        resources: Device and observer.
        seed: Of the order.
        layers: Which layers learn. Statistics of batch norm follow the images in any case.
    """
    network = copy.deepcopy(victim)
    last = set(last_linear(network).parameters())
    for parameter in network.parameters():
        parameter.requires_grad_(layers == "all" or (parameter in last) == (layers == "last"))
    tuned = learn(own, resources, seed, start=network, settings=FINE_TUNING)
    return tuned.requires_grad_(True)


def unobserved(resources: Resources) -> Resources:
    """The same resources without the observer, for training that is not the attacker's last."""
    return replace(resources, observe=ignored)


def _attackers(share: float) -> tuple[Attacker, ...]:
    percent = f"{100 * share:g}"
    same: dict[str, Any] = {"knowledge": Knowledge(clean=share), "settings": {"clean_share": share}}
    gaining: dict[str, Any] = {"alone": f"clean-{percent}-alone", **same}
    tuned: dict[str, Any] = {"cost": 1.2, "source": _FINE_TUNING_SOURCE, **gaining}
    own = f"{percent} % clean images"
    return (
        _alone(share),
        Attacker(
            name=f"clean-{percent}-mixed", title=f"mixing in {own}", attack=mixed, cost=1.5, source=_DILUTION, **gaining
        ),
        *(
            Attacker(
                name=f"clean-{percent}-tuned{ending}",
                title=f"fine-tuning {which} with {own}",
                attack=FineTuning(layers),
                **tuned,
            )
            for layers, ending, which in _TUNED
        ),
    )


def _alone(share: float) -> Attacker:
    percent = f"{100 * share:g}"
    return Attacker(
        name=f"clean-{percent}-alone",
        title=f"training on {percent} % clean images alone",
        attack=alone,
        cost=0.5,
        knowledge=Knowledge(clean=share),
        settings={"clean_share": share},
        source="The measure of what the encrypted images add",
    )


_TUNED: Final[tuple[tuple[Layers, str, str], ...]] = (
    ("all", "", "all layers"),
    ("last", "-last", "the last layer"),
    ("first", "-first", "all layers but the last"),
)

DILUTION: Final = (*(attacker for share in SHARES for attacker in _attackers(share)), _alone(LARGE_SHARE))
