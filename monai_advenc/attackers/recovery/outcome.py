# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What a recovery attack came to: how much of the key it found, and what that cost."""

from __future__ import annotations

from collections.abc import Sequence

from monai_advenc.attackers.recovery.guesser import Guesser, Targets
from monai_advenc.encryption.correspondence import ClassCorrespondence
from monai_advenc.settings import Settings


class RecoveryOutcome(Settings):
    """How an attack ended.

    Attributes:
        classes: Number of classes.
        in_place: Classes whose targets were all found, each in its slot.
        as_sets: Classes whose targets were all found, in whichever order.
        targets: Share of all targets that were found, in whichever slot.
        tries: Guesses scored.
        perturbed_images: Images that the attacker perturbed, counted once for every target.
    """

    classes: int
    in_place: int
    as_sets: int
    targets: float
    tries: int
    perturbed_images: int


def judge(guess: Sequence[Targets], truth: ClassCorrespondence, guesser: Guesser) -> RecoveryOutcome:
    """Compare a guess with the real correspondence, which only the one who measures has."""
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
