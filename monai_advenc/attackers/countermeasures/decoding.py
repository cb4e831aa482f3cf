# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Guess the key, or have it, and read a victim's answers back; or move images back toward their own classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.attackers.countermeasures.attacker import Attacker, Knowledge, Resources, learn
from monai_advenc.attackers.countermeasures.dilution import LARGE_SHARE, own_images, unobserved
from monai_advenc.attackers.countermeasures.purifiers.paired_inverse import own_base
from monai_advenc.attackers.recovery.guesser import Guesser
from monai_advenc.attackers.recovery.methods import RecoveryAttack
from monai_advenc.attackers.recovery.own_versions import OwnVersions
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.batch_size import versions_per_pass
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.perturbation.settings import PerturbationSettings

_STEPS: Final = 10
_KEPT_ASIDE: Final = 0.3
_LEAST: Final = 1e-6


class Decoded(nn.Module):
    """A victim whose answer y counts for the classes that y was perturbed toward (the paper's Orig+P).

    Args:
        victim: Trained on encrypted images.
        targets: Targets of each class.
    """

    def __init__(self, victim: nn.Module, targets: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.victim = victim
        table = torch.zeros(len(targets), len(targets))
        for label, row in enumerate(targets):
            for target in row:
                table[label, target] += 1 / len(row)
        self.register_buffer("table", table)
        self.train(victim.training)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, K)``."""
        table = self.get_buffer("table")
        shares: Tensor = self.victim(images).float().softmax(dim=1) @ table
        # Shifted, so that nobody takes them for probabilities.
        return (shares + _LEAST).log() - 1


def decoded_with_key(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Train as usual, and read the answers with the owner's correspondence."""
    if resources.owner is None:
        raise SettingsError("this attacker needs the owner's key; see equip")
    return _decoded(encrypted, resources, seed, resources.owner.key.correspondence.targets)


def decoded_with_guess(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Train as usual, guess one target of each class with own images, and read the answers with it."""
    victim = learn(encrypted, unobserved(resources), seed)
    own_train, own_test = own_images(resources).split(_KEPT_ASIDE, seed)
    simulator = own_base(own_train, resources, seed)
    guesser = Guesser(victim, OwnVersions(simulator, own_test, _believed(resources), seed=seed))
    guess = RecoveryAttack(method="separable", combiner="basic").recover(guesser)
    targets = [[target for target in row if target is not None] for row in guess]
    return _decoded(encrypted, resources, seed, targets)


def _decoded(encrypted: ImageSet, resources: Resources, seed: int, targets: Sequence[Sequence[int]]) -> nn.Module:
    watched = replace(resources, observe=lambda network: resources.observe(Decoded(network, targets)))
    return Decoded(learn(encrypted, watched, seed), targets).eval()


def moved_back(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Move each encrypted image toward its own class with an own base network, then train on all and on own images."""
    own = own_images(resources)
    base = own_base(own, resources, seed)
    channels, height, width = encrypted.images.shape[1:]
    settings = _believed(resources)
    prepared = prepare(base, (channels, height, width), steps=settings.steps)
    batch = versions_per_pass(prepared, (channels, height, width))
    device = next(base.parameters()).device
    pixels, labels = encrypted.images.to(device), encrypted.labels.to(device)
    moved = perturb_in_batches(prepared, pixels, labels, settings, batch_size=batch).cpu()
    return learn(replace(encrypted, images=moved.clamp(0, 1)).joined(own), resources, seed)


def _believed(resources: Resources) -> PerturbationSettings:
    if resources.radius is None:
        raise SettingsError("this attacker needs the stated radius; see equip")
    return PerturbationSettings(radius=resources.radius, step_size=2.5 * resources.radius / _STEPS, steps=_STEPS)


_OWN: Final = Knowledge(clean=LARGE_SHARE, method=True)
_ALONE: Final = f"clean-{100 * LARGE_SHARE:g}-alone"

DECODING: Final[tuple[Attacker, ...]] = (
    Attacker(
        name="decode-guess",
        title="reading answers with a guessed key",
        attack=decoded_with_guess,
        cost=4,
        knowledge=_OWN,
        alone=_ALONE,
        source="Hu et al. 2020, section 3.4",
    ),
    Attacker(
        name="moved-back",
        title="moving images back toward their own classes",
        attack=moved_back,
        cost=5,
        knowledge=_OWN,
        settings={"steps": _STEPS},
        alone=_ALONE,
        source="docs/threat_model.md",
    ),
    Attacker(
        name="decode-key",
        title="reading answers with the owner's key",
        attack=decoded_with_key,
        knowledge=Knowledge(method=True, key=True),
        source="Hu et al. 2020, Orig+P",
    ),
)
