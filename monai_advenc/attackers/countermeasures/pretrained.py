# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Start from a network that was trained on other images: fine-tune all of it, a part, or the last layer alone."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import nn

from monai_advenc.attackers.countermeasures.attacker import Attacker, Knowledge, Resources, learn, new_network
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import NetworkError, SettingsError
from monai_advenc.networks.features import last_linear
from monai_advenc.networks.training import TrainingSettings, train

Part = Literal["all", "half", "last"]

_RATE: Final = 0.02


def pretrained_network(resources: Resources, seed: int) -> nn.Module:
    """The given network, or one trained on the other images.

    Raises:
        SettingsError: There is neither.
    """
    if resources.pretrained is not None:
        return copy.deepcopy(resources.pretrained).to(resources.device)
    if resources.other is None:
        raise SettingsError("this attacker needs a pretrained network or other images; see equip")
    other = resources.other
    settings = TrainingSettings(seed=seed).enough_for(len(other))
    return train(new_network(other, resources, seed), other, None, settings).network


def with_new_head(network: nn.Module, classes: int, seed: int) -> nn.Module:
    """A copy of a network whose last linear layer has new weights for so many classes."""
    changed = copy.deepcopy(network)
    last = last_linear(changed)
    (place,) = (name for name, module in changed.named_modules() if module is last)
    above, _, name = place.rpartition(".")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(last.in_features, classes).to(last.weight.device)
    setattr(changed.get_submodule(above), name, head)
    return changed


def freeze(network: nn.Module, part: Part) -> nn.Module:
    """Let only a part of a network learn, in place: all, the later half of its weights' tensors, or the last layer."""
    own = list(network.parameters())
    last = {id(parameter) for parameter in last_linear(network).parameters()}
    for place, parameter in enumerate(own):
        free = part == "all" or id(parameter) in last or (part == "half" and place >= len(own) // 2)
        parameter.requires_grad_(free)
    return network


@dataclass(frozen=True)
class PretrainedStart:
    """Fine-tune a pretrained network on the encrypted images.

    Attributes:
        part: Which part of it learns.
    """

    part: Part

    def __call__(self, encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
        """Return the network of the last epoch."""
        start = freeze(with_new_head(pretrained_network(resources, seed), len(encrypted.classes), seed), self.part)
        settings = resources.training.model_copy(update={"peak_learning_rate": _RATE})
        try:
            tuned = learn(encrypted, resources, seed, start=start.train(), settings=settings)
        except NetworkError as error:
            raise NetworkError(f"the pretrained network does not fit the images: {error}") from None
        return tuned.requires_grad_(True)


_PARTS: Final[tuple[tuple[Part, str, str], ...]] = (
    ("all", "", "fine-tuned"),
    ("half", "-partial", "its later half fine-tuned"),
    ("last", "-probe", "frozen, with a new last layer"),
)

PRETRAINED: Final = tuple(
    Attacker(
        name=f"pretrained{ending}",
        title=f"a pretrained network, {words}",
        attack=PretrainedStart(part),
        cost=2,
        knowledge=Knowledge(other=True),
        settings={"part": part},
        source="BAIT, arXiv 2603.04731",
    )
    for part, ending, words in _PARTS
)
