# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure the cost of recovery attacks: guesses of the key, and images perturbed for them."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import untrained_case
from monai_advenc.attackers.recovery.guesser import Guesser
from monai_advenc.attackers.recovery.methods import RecoveryAttack
from monai_advenc.attackers.recovery.own_versions import OwnVersions
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.perturbation.settings import PerturbationSettings

ATTACKS = {
    "enumeration": RecoveryAttack(method="enumeration"),
    "separable": RecoveryAttack(method="separable"),
    "layout-unknown": RecoveryAttack(method="layout-unknown"),
    "ratio-unknown": RecoveryAttack(method="ratio-unknown"),
}
"""The attacks, all on a Horizontal Concat of two targets."""


class CountedVersions(OwnVersions):
    """Versions that count their uses: the number of perturbations of an attacker who keeps no versions."""

    asked = 0

    def toward(self, label: int, target: int) -> Tensor:
        """See :meth:`OwnVersions.toward`."""
        found = super().toward(label, target)
        self.asked += len(found)
        return found


def measure_recovery(quick: bool, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure guesses and seconds of each attack on a key, and seconds of perturbing its images.

    The networks are untrained: the guesses are meaningless, but the cost hardly depends on training.
    """
    classes, count, steps, network = (4, 4, 1, "resnet_small") if quick else (10, 40, 10, "resnet18")
    case = untrained_case("cifar10", network, count=count)
    names = tuple(str(label) for label in range(classes))
    images = ImageSet(case.images, torch.arange(count) % classes, tuple(map(str, range(count))), names)
    pairs = list(permutations(range(classes), 2))
    settings = PerturbationSettings(radius=case.radius, step_size=0.1, steps=steps)
    attacks: dict[str, dict[str, Any]] = {}
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        versions = CountedVersions(case.network, images, settings)
        start = time.perf_counter()
        versions.make(pairs)
        seconds["perturbation"].append(time.perf_counter() - start)
        for name, attack in ATTACKS.items():
            versions.asked = 0
            guesser = Guesser(case.network, versions)
            start = time.perf_counter()
            attack.recover(guesser)
            seconds[name].append(time.perf_counter() - start)
            attacks[name] = {"tries": guesser.tries, "perturbed_if_none_were_kept": versions.asked}
        say(f"recovery: round {number} of {rounds}" if number else "recovery: a round that does not count")
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    for name, row in attacks.items():
        row["seconds_to_seconds_of_perturbation"] = round(medians[name] / medians["perturbation"], 3)
    return {
        "network": network,
        "classes": classes,
        "images": count,
        "steps": steps,
        "perturbed": versions.perturbed,
        "attacks": attacks,
    }
