# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Outcome of a recovery attack: the share of the key that it found, and its cost."""

from __future__ import annotations

from collections.abc import Sequence

from monai_advenc.attackers.recovery.guesser import Guesser, Targets
from monai_advenc.encryption.correspondence import ClassCorrespondence
from monai_advenc.settings import Settings


class RecoveryOutcome(Settings):
    """Result of an attack.

    Attributes:
        classes: Number of classes.
        in_place: Number of classes with all targets found, each in its slot.
        as_sets: Number of classes with all targets found, in any order.
        targets: Share of all targets that were found, in any slot.
        tries: Number of scored guesses.
        perturbed_images: Images that the attacker perturbed, counted once per target.
    """

    classes: int
    in_place: int
    as_sets: int
    targets: float
    tries: int
    perturbed_images: int


def judge(guess: Sequence[Targets], truth: ClassCorrespondence, guesser: Guesser) -> RecoveryOutcome:
    """Compare a guess with the real correspondence, which an attacker does not have."""
    pairs = list(zip(guess, truth.targets, strict=True))
    found = sum(len(set(mine) & set(real)) for mine, real in pairs)
    return RecoveryOutcome(
        classes=len(pairs),
        in_place=sum(mine == real for mine, real in pairs),
        as_sets=sum(set(mine) == set(real) for mine, real in pairs),
        targets=found / sum(len(set(real)) for _, real in pairs),
        tries=guesser.tries,
        perturbed_images=guesser.versions.perturbed,
    )
