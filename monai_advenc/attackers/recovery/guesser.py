# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Score guesses: encrypt own images under a guess and classify them by the network trained on encrypted data (M1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.attackers.recovery.own_versions import OwnVersions
from monai_advenc.encryption.combiners import choose_combiner
from monai_advenc.evaluation.accuracy import predict_logits

Targets = tuple[int | None, ...]
"""A guess for one class: a target for each slot; ``None`` leaves the slot's pixels unperturbed."""


class Score(NamedTuple):
    """Score of a guess for one class; tuples compare by accuracy, then by likelihood.

    Attributes:
        accuracy: Accuracy of M1 on the images, the paper's criterion.
        likelihood: Mean log-probability of their class, which separates guesses even if all or none are right.
    """

    accuracy: float
    likelihood: float


@dataclass(frozen=True)
class Layout:
    """The attacker's assumption about how versions are joined: a combiner's name and its ratios."""

    combiner: str
    ratios: tuple[float, ...] = ()

    def join(self, slots: Tensor) -> Tensor:
        """Join versions ``(N, T, C, H, W)`` into ``(N, C, H, W)``."""
        ratios = torch.tensor([self.ratios] * len(slots)).reshape(len(slots), len(self.ratios))
        return choose_combiner(self.combiner).join(slots, ratios, [0] * len(slots)).clamp(0, 1)


WHOLE_IMAGE = Layout("basic")
"""One target for the whole image, for guesses with unknown layout."""


class Guesser:
    """Scores guesses and counts them.

    Args:
        network: M1, trained on the encrypted data set, in evaluation mode.
        versions: The attacker's own perturbed images.
        own_class: Whether a class may be its own target. Drawn keys never have this, but two of the paper's tables do.
    """

    def __init__(self, network: nn.Module, versions: OwnVersions, *, own_class: bool = False) -> None:
        self._network = network
        self._own_class = own_class
        self._scores: dict[tuple[int, Targets, Layout], Score] = {}
        self.versions = versions
        self.tries = 0
        """Number of different guesses scored so far."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.versions.num_classes

    def choices(self, label: int) -> list[int]:
        """Possible targets of a class."""
        return [target for target in range(self.num_classes) if self._own_class or target != label]

    def score(self, label: int, targets: Targets, layout: Layout = WHOLE_IMAGE) -> Score:
        """Score a guess of a class's targets and the layout on the own images of that class."""
        guess = (label, targets, layout)
        if guess not in self._scores:
            logits = predict_logits(self._network, self._encrypt(label, targets, layout))
            labels = torch.full((len(logits),), label)
            right = (logits.argmax(dim=1) == labels).double().mean().item()
            self._scores[guess] = Score(right, -functional.cross_entropy(logits, labels).item())
            if any(target is not None for target in targets):
                self.tries += 1
        return self._scores[guess]

    def overall(self, guesses: Mapping[int, Targets], layout: Layout = WHOLE_IMAGE) -> Score:
        """Score all own images, with some classes perturbed under a guess and the others unperturbed."""
        accuracy = likelihood = 0.0
        total = sum(len(self.versions.originals_of(label)) for label in range(self.num_classes))
        for label in range(self.num_classes):
            share = len(self.versions.originals_of(label)) / total
            score = self.score(label, guesses[label], layout) if label in guesses else self.score(label, (None,))
            accuracy += share * score.accuracy
            likelihood += share * score.likelihood
        return Score(accuracy, likelihood)

    def _encrypt(self, label: int, targets: Targets, layout: Layout) -> Tensor:
        slots = [
            self.versions.originals_of(label) if target is None else self.versions.toward(label, target)
            for target in targets
        ]
        return layout.join(torch.stack(slots, dim=1))
