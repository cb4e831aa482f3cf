# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Recovering the key: on a toy where the truth is known, right guesses win, and tries are counted as claimed."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.attackers.recovery.enumeration import EVEN_CONCAT, enumerate_key, sweep
from monai_advenc.attackers.recovery.guesser import Guesser, Layout
from monai_advenc.attackers.recovery.methods import RecoveryAttack
from monai_advenc.attackers.recovery.outcome import judge
from monai_advenc.attackers.recovery.own_versions import OwnVersions
from monai_advenc.attackers.recovery.separable import (
    recover_by_slot,
    recover_ratio,
    recover_without_layout,
    refine,
)
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.correspondence import ClassCorrespondence
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation

CLASSES = ("a", "b", "c", "d", "e")
SIDE = 16
SETTINGS = PerturbationSettings(radius=1.0, step_size=0.25, steps=6)


@cache
def patterns() -> Tensor:
    """One faint pattern for each class, ``(K, 1, H, W)``: what stands for its non-robust features."""
    drawn = torch.randn(len(CLASSES), 1, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    return drawn / drawn.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)


class PatternNetwork(nn.Module):
    """Recognizes a class by its pattern, wherever in the columns it lies; ``table`` says what a pattern stands for."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.kernels = nn.Parameter(patterns()[:, 0].clone())
        self.register_buffer("table", table)

    def forward(self, images: Tensor) -> Tensor:
        found = torch.einsum("nchw,khw->nk", images - 0.5, self.kernels)
        logits: Tensor = 8 * found @ self.table
        return logits


def meaning(correspondence: ClassCorrespondence) -> Tensor:
    """What a network learns from an encrypted set: the patterns of a class's targets stand for that class."""
    table = torch.zeros(len(CLASSES), len(CLASSES))
    for label, targets in enumerate(correspondence.targets):
        for target in targets:
            table[target, label] = 1.0
    return table


@pytest.fixture
def own_images() -> ImageSet:
    labels = torch.arange(len(CLASSES)).repeat(8)
    noise = 0.05 * torch.randn(len(labels), 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    images = (0.5 + 0.3 * patterns()[labels] + noise).clamp(0, 1)
    return ImageSet(images, labels, tuple(str(row) for row in range(len(labels))), CLASSES)


def guesser_for(correspondence: ClassCorrespondence, own_images: ImageSet) -> Guesser:
    own_network = PatternNetwork(torch.eye(len(CLASSES))).eval()
    learned = PatternNetwork(meaning(correspondence)).eval()
    return Guesser(learned, OwnVersions(own_network, own_images, SETTINGS))


def test_enumeration_finds_every_target_of_a_basic_encryption(own_images: ImageSet) -> None:
    truth = ClassCorrespondence.draw(5, seed=3)
    guesser = guesser_for(truth, own_images)
    outcome = judge(enumerate_key(guesser), truth, guesser)
    assert (outcome.in_place, outcome.as_sets, outcome.targets) == (5, 5, 1.0)
    assert outcome.tries == 5 * 4
    assert outcome.perturbed_images == len(own_images) * 4


def test_each_image_is_perturbed_toward_each_class_at_most_once_however_many_guesses(own_images: ImageSet) -> None:
    truth = ClassCorrespondence.draw(5, 2, seed=3)
    guesser = guesser_for(truth, own_images)
    guess = enumerate_key(guesser, EVEN_CONCAT, 2)
    assert guesser.tries == 5 * 4 * 3
    assert guesser.versions.perturbed == len(own_images) * 4
    recover_by_slot(guesser, EVEN_CONCAT, 2)
    refine(guesser, guess, Layout("horizontal-concat", (0.25, 0.75)))
    assert guesser.versions.perturbed == len(own_images) * 4


def test_the_separable_attack_finds_both_targets_with_two_tries_for_each_target(own_images: ImageSet) -> None:
    truth = ClassCorrespondence.draw(5, 2, seed=8)
    guesser = guesser_for(truth, own_images)
    outcome = judge(recover_by_slot(guesser, EVEN_CONCAT, 2), truth, guesser)
    assert outcome.as_sets == 5
    assert outcome.tries == 5 * 4 * 2


def test_without_the_layout_the_targets_are_found_as_sets(own_images: ImageSet) -> None:
    truth = ClassCorrespondence.draw(5, 2, seed=8)
    guesser = guesser_for(truth, own_images)
    outcome = judge(recover_without_layout(guesser, 2), truth, guesser)
    assert outcome.as_sets == 5
    assert outcome.tries == 5 * 4


def test_a_score_asked_for_twice_counts_once(own_images: ImageSet) -> None:
    guesser = guesser_for(ClassCorrespondence.draw(5, seed=3), own_images)
    assert sweep(guesser, 0) == sweep(guesser, 0)
    guesser.score(0, (None,))
    assert guesser.tries == 4


def test_accuracy_counts_classes_without_a_guess_as_they_are(own_images: ImageSet) -> None:
    truth = ClassCorrespondence.draw(5, seed=3)
    guesser = guesser_for(truth, own_images)
    all_right = guesser.overall(dict(enumerate(truth.targets))).accuracy
    one_right = guesser.overall({0: truth.targets[0]}).accuracy
    assert all_right == 1.0
    assert guesser.overall({}).accuracy < one_right < all_right


class HalvesNetwork(PatternNetwork):
    """Has learned that a class's first target shows in the left part, its second in the right."""

    def __init__(self, correspondence: ClassCorrespondence, share: float = 0.5) -> None:
        super().__init__(torch.eye(len(CLASSES)))
        self.targets = torch.tensor(correspondence.targets)
        self.border = round(share * SIDE)

    def forward(self, images: Tensor) -> Tensor:
        half = self.border
        left, right = (
            torch.einsum("nchw,khw->nk", images[..., part] - 0.5, self.kernels[..., part])
            for part in (slice(half), slice(half, None))
        )
        logits: Tensor = 4 * (left[:, self.targets[:, 0]] + right[:, self.targets[:, 1]])
        return logits


def test_the_ratio_that_explains_most_wins(own_images: ImageSet) -> None:
    truth = ClassCorrespondence.draw(5, 2, seed=8)
    versions = OwnVersions(PatternNetwork(torch.eye(5)).eval(), own_images, SETTINGS)
    guesser = Guesser(HalvesNetwork(truth).eval(), versions)
    layouts = [Layout("horizontal-concat", (share, 1 - share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert recover_ratio(guesser, truth.targets, layouts) == EVEN_CONCAT
    swapped = [targets[::-1] for targets in truth.targets]
    assert judge(swapped, truth, guesser).in_place == 0
    assert judge(refine(guesser, swapped, EVEN_CONCAT), truth, guesser).in_place == len(CLASSES)


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_without_the_ratio_targets_and_their_slots_are_found(own_images: ImageSet, share: float) -> None:
    truth = ClassCorrespondence.draw(5, 2, seed=8)
    versions = OwnVersions(PatternNetwork(torch.eye(5)).eval(), own_images, SETTINGS)
    guesser = Guesser(HalvesNetwork(truth, share).eval(), versions)
    outcome = judge(RecoveryAttack(method="ratio-unknown").recover(guesser), truth, guesser)
    assert outcome.in_place == len(CLASSES)


@pytest.mark.parametrize("augmentation", [None, Augmentation()])
def test_workers_give_the_same_versions_as_this_process(
    own_images: ImageSet, augmentation: Augmentation | None
) -> None:
    network, settings = PatternNetwork(torch.eye(5)).eval(), SETTINGS.model_copy(update={"augmentation": augmentation})
    alone, shared = (OwnVersions(network, own_images, settings, workers=workers) for workers in (0, 2))
    pairs = [(0, 1), (2, 3), (4, 0)]
    alone.make(pairs)
    shared.make(pairs)
    assert all(torch.equal(alone.toward(*pair), shared.toward(*pair)) for pair in pairs)
