"""Audits of data sets whose right verdict is known beforehand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from monai_advenc.attackers.audit.cells import Ground, run_cell
from monai_advenc.attackers.audit.findings import Findings, findings_of, statement
from monai_advenc.attackers.audit.ground import unchanged_classes
from monai_advenc.attackers.audit.plan import places_of
from monai_advenc.attackers.countermeasures.attacker import Resources
from monai_advenc.attackers.countermeasures.purifiers.paired_inverse import encrypted_with, own_base, own_key
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.evaluation.division import Division
from monai_advenc.networks.training import TrainingSettings
from tests.attackers.countermeasures.planted_sets import waves

TRAIN, RADIUS = 210, 1.3
ORIGINALS = waves(TRAIN + 300, 0, contrast=0.15)


def divided(encrypted: ImageSet) -> Division:
    rows = tuple(range(TRAIN)), tuple(range(TRAIN, len(ORIGINALS)))
    return Division(originals=ORIGINALS, encrypted=encrypted, folds=(rows,))


def audited(encrypted: ImageSet) -> Findings:
    division = divided(encrypted)
    resources = Resources(training=TrainingSettings(epochs=14, batch_size=16), radius=RADIUS)
    places = places_of(["usual", "blur-1"], ["vgg_small"], [0], 1)
    cells = [run_cell(Ground(division=division, resources=resources), place) for cell in places for place in cell]
    found = findings_of(cells, 1, None, unchanged_classes(division))
    assert found.verdict.clean is not None
    # A verdict about nothing would be right for the wrong reason.
    assert found.verdict.clean > 0.6, found.verdict.reason
    return found


@cache
def encrypted(random_targets: bool = False) -> ImageSet:
    train = ORIGINALS.subset(range(TRAIN))
    base, key = own_base(train, Resources(), 5), own_key(ORIGINALS, RADIUS, None, 3)
    labels = ORIGINALS.labels
    if random_targets:
        labels = torch.randint(0, 3, (len(labels),), generator=torch.Generator().manual_seed(0))
    return replace(ORIGINALS, images=encrypted_with(key, base, replace(ORIGINALS, labels=labels)))


@pytest.mark.slow  # Six trainings each.
def test_images_that_were_not_encrypted_are_not_protected() -> None:
    found = audited(ORIGINALS)
    assert found.verdict.verdict == "none"
    assert "does not protect against training as usual" in statement(found)
    assert "a, b, c are not encrypted" in statement(found)


@pytest.mark.slow  # Six trainings each.
def test_random_noise_does_not_protect() -> None:
    noise = torch.randn(ORIGINALS.images.shape, generator=torch.Generator().manual_seed(1))
    noise *= RADIUS / noise.flatten(1).norm(dim=1)[:, None, None, None]
    found = audited(replace(ORIGINALS, images=(ORIGINALS.images + noise).clamp(0, 1)))
    assert found.verdict.verdict == "none", found.verdict.reason


@pytest.mark.slow  # Six trainings each.
def test_random_targets_protect_little() -> None:
    found = audited(encrypted(random_targets=True))
    assert found.verdict.verdict in ("none", "weak"), found.verdict.reason


@pytest.mark.slow  # Six trainings each.
def test_a_proper_encryption_is_protected_or_weak() -> None:
    found = audited(encrypted())
    assert found.verdict.verdict in ("protected", "weak"), found.verdict.reason
    assert not found.unchanged


def test_a_class_with_a_radius_of_zero_is_named() -> None:
    changed = replace(ORIGINALS, images=(ORIGINALS.images + 0.01).clamp(0, 1))
    partly = torch.where((ORIGINALS.labels == 1)[:, None, None, None], ORIGINALS.images, changed.images)
    unchanged = unchanged_classes(divided(replace(ORIGINALS, images=partly)))
    assert unchanged == ("b",)
    assert statement(findings_of([], 1, None, unchanged)).endswith(
        " Images of b are not encrypted: everyone can train on them."
    )
