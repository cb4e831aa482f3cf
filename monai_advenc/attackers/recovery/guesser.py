# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Scoring guesses: own images encrypted under a guess, shown to the network that learned the real encryption (M1)."""

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
"""A guess for one class: a target for each slot; ``None`` leaves the slot's pixels as they are."""


class Score(NamedTuple):
    """How well M1 recognizes the images of a class under a guess; tuples compare by accuracy, then by likelihood.

    Attributes:
        accuracy: Share of the images that M1 takes for their class: what the paper compares.
        likelihood: Mean log-probability of their class, which still tells guesses apart when all or none are right.
    """

    accuracy: float
    likelihood: float


@dataclass(frozen=True)
class Layout:
    """How the attacker believes versions are joined: a combiner's name and its ratios."""

    combiner: str
    ratios: tuple[float, ...] = ()

    def join(self, slots: Tensor) -> Tensor:
        """Join versions ``(N, T, C, H, W)`` into ``(N, C, H, W)``."""
        ratios = torch.tensor([self.ratios] * len(slots)).reshape(len(slots), len(self.ratios))
        return choose_combiner(self.combiner).join(slots, ratios, [0] * len(slots)).clamp(0, 1)


WHOLE_IMAGE = Layout("basic")
"""One target for the whole image: what to guess when the layout is unknown."""


class Guesser:
    """Scores guesses and counts them.

    Args:
        network: M1, trained on the encrypted data set, in evaluation mode.
        versions: The attacker's own perturbed images.
        own_class: Whether a class may be its own target. Never in a key that was drawn, but in two of the tables that
            the paper printed.
    """

    def __init__(self, network: nn.Module, versions: OwnVersions, *, own_class: bool = False) -> None:
        self._network = network
        self._own_class = own_class
        self._scores: dict[tuple[int, Targets, Layout], Score] = {}
        self.versions = versions
        self.tries = 0
        """Different guesses scored so far."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.versions.num_classes

    def choices(self, label: int) -> list[int]:
        """The classes that can be targets of a class."""
        return [target for target in range(self.num_classes) if self._own_class or target != label]

    def score(self, label: int, targets: Targets, layout: Layout = WHOLE_IMAGE) -> Score:
        """How well M1 recognizes the own images of a class under a guess of its targets and the layout."""
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
        """The score over all own images, with some classes under a guess and the others unperturbed."""
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
