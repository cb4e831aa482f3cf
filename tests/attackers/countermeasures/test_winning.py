"""Each attacker wins where it must: on a set whose weakness is known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from monai_advenc.attackers.countermeasures.attacker import Owner
from monai_advenc.attackers.countermeasures.other_images import phantom_slices
from monai_advenc.attackers.countermeasures.purifiers.paired_inverse import (
    encrypted_with,
    minimized,
    own_base,
    own_key,
)
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.named_profiles import Profile
from monai_advenc.networks.training import TrainingSettings
from tests.attackers.countermeasures.planted_sets import SIDE, accuracy, attack, resources, waves, with_patterns

ORIGINALS, REAL = waves(90, 0), waves(90, 1)
CHANCE = 1 / 3


@cache
def undefended() -> float:
    return accuracy(attack("usual", with_patterns(ORIGINALS), ORIGINALS), REAL)


def test_training_as_usual_is_misled_by_planted_patterns() -> None:
    assert undefended() < CHANCE + 0.05
    assert accuracy(attack("usual", ORIGINALS, ORIGINALS), REAL) > CHANCE + 0.25


@pytest.mark.parametrize("name", ["blur-1", "clean-5-mixed", "class-means", "shallow"])
def test_attackers_against_fine_detail_and_those_with_clean_images_win(name: str) -> None:
    assert accuracy(attack(name, with_patterns(ORIGINALS), ORIGINALS), REAL) > undefended() + 0.15


@pytest.mark.slow  # As above, for the many others.
@pytest.mark.parametrize(
    "name",
    [
        *("resize-half", "jpeg-10", "bits-2", "median-3", "non-local-means", "total-variation", "wavelet", "resample"),
        *("z-score", "percentiles", "histogram", "window", "cutout", "cutmix", "mixup", "random-crop", "strong-views"),
        *("clean-5-tuned", "clean-5-alone", "clean-20-alone", "no-augmentation", "orthogonal-projection", "stripped"),
        *("pretrained", "pretrained-partial", "pretrained-probe", "blind-spot", "denoising-autoencoder", "ueraser"),
        *("inverse-own", "moved-back"),
    ],
)
def test_all_others_against_patterns_win_too(name: str) -> None:
    other = phantom_slices((1, SIDE, SIDE), 20)
    assert accuracy(attack(name, with_patterns(ORIGINALS), ORIGINALS, other=other), REAL) > undefended() + 0.12


def in_bodies(images: ImageSet) -> ImageSet:
    """The images in a disk on black ground, which is not exactly black."""
    place = torch.linspace(-1, 1, SIDE)
    disk = place[:, None].square() + place.square() < 0.7**2
    return replace(images, images=torch.where(disk, images.images, 0.01))


def test_masking_wins_where_the_pattern_lies_in_the_background() -> None:
    clean = in_bodies(ORIGINALS)
    planted = replace(
        clean, images=torch.where(clean.images == 0.01, 0.14 * with_patterns(clean, 0.8).images, clean.images)
    )
    real = in_bodies(REAL)
    assert accuracy(attack("usual", planted, clean), real) < CHANCE + 0.1
    assert accuracy(attack("background-masked", planted, clean), real) > CHANCE + 0.25


def fields() -> torch.Tensor:
    """A steep smooth field for each class, of mean 1, which no flip changes into that of another."""
    place = torch.linspace(-1, 1, SIDE)
    across, down = place[None].expand(SIDE, SIDE), place[:, None].expand(SIDE, SIDE)
    steep = [(1.2 * slope).exp() for slope in (across, down, -down)]
    return torch.stack([field / field.mean() for field in steep])[:, None]


@pytest.mark.slow  # Two trainings more.
def test_bias_correction_wins_where_each_class_has_a_field_of_its_own() -> None:
    clean, real = (replace(each, images=0.4 * each.images) for each in (ORIGINALS, REAL))
    shaded = replace(clean, images=(clean.images * fields()[clean.labels]).clamp(0, 1))
    longer = TrainingSettings(epochs=12, batch_size=16)
    plain = accuracy(attack("usual", shaded, clean, training=longer), real)
    assert accuracy(attack("bias-correction", shaded, clean, training=longer), real) > plain + 0.1


@pytest.mark.slow  # Two trainings more.
def test_removing_color_wins_where_the_code_is_in_colors() -> None:
    tints = torch.eye(3)[:, :, None, None] * 0.12 - 0.04

    def colored(images: ImageSet) -> ImageSet:
        return replace(images, images=images.images.repeat(1, 3, 1, 1))

    clean = colored(ORIGINALS)
    planted = replace(clean, images=(clean.images + tints[clean.labels]).clamp(0, 1))
    plain = accuracy(attack("usual", planted, clean), colored(REAL))
    assert accuracy(attack("gray", planted, clean), colored(REAL)) > plain + 0.1


@pytest.mark.slow  # Two trainings more.
def test_more_epochs_win_where_the_usual_ones_are_too_few() -> None:
    few = TrainingSettings(epochs=2, batch_size=16)
    plain = accuracy(attack("usual", ORIGINALS, ORIGINALS, training=few), REAL)
    assert accuracy(attack("long", ORIGINALS, ORIGINALS, training=few), REAL) > plain + 0.1


@cache
def owned(contrast: float, radius: float) -> tuple[ImageSet, ImageSet, ImageSet, Owner]:
    """Originals, the same encrypted toward one target, real images, and the owner's secrets."""
    clean, real = waves(150, 0, contrast), waves(90, 1, contrast)
    base = own_base(clean, resources(), 5)
    key = own_key(clean, radius, None, 3)
    return clean, replace(clean, images=encrypted_with(key, base, clean)), real, Owner(key, base)


@pytest.mark.slow  # Up to a minute each.
@pytest.mark.parametrize(
    ("contrast", "radius", "names"),
    [
        (0.1, 1.0, ("adversarial-l2", "adversarial-linf", "simclr", "ueraser")),
        (0.06, 0.8, ("decode-guess", "decode-key", "inverse-true-key", "inverse-true-base")),
    ],
)
def test_attackers_against_the_encryption_itself_win(contrast: float, radius: float, names: tuple[str, ...]) -> None:
    clean, encrypted, real, owner = owned(contrast, radius)
    known = {"training": TrainingSettings(epochs=12, batch_size=16), "radius": radius, "owner": owner}
    plain = accuracy(attack("usual", encrypted, clean, **known), real)
    for name in names:
        assert accuracy(attack(name, encrypted, clean, **known), real) > plain + 0.08, name


@pytest.mark.slow  # A minute.
def test_pairs_of_other_images_win_where_the_owner_made_the_same_base_network_and_key() -> None:
    other, clean, real = waves(150, 7, 0.06), waves(150, 0, 0.06), waves(90, 1, 0.06)
    base, key = own_base(other, resources(), 0), own_key(other, 0.8, None, 0)
    encrypted = replace(clean, images=encrypted_with(key, base, clean))
    known = {"training": TrainingSettings(epochs=12, batch_size=16), "radius": 0.8, "other": other}
    plain = accuracy(attack("usual", encrypted, clean, **known), real)
    assert accuracy(attack("inverse-other-images", encrypted, clean, **known), real) > plain + 0.08


@pytest.mark.slow  # Half a minute, and two.
@pytest.mark.parametrize(("attacker", "profile"), [("minimizing", "error-minimizing"), ("strong", "strong")])
def test_pairs_of_the_error_minimizing_family_win_against_that_family(attacker: str, profile: Profile) -> None:
    clean, real = waves(150, 0, 0.06), waves(90, 1, 0.06)
    known = {"training": TrainingSettings(epochs=12, batch_size=16), "radius": 0.8}
    encrypted = replace(clean, images=minimized(clean, resources(radius=0.8), 5, profile))
    plain = accuracy(attack("usual", encrypted, clean, **known), real)
    assert accuracy(attack(f"inverse-{attacker}", encrypted, clean, **known), real) > plain + 0.08


def test_the_detector_finds_a_pattern_and_not_what_is_not_there() -> None:
    from monai_advenc.attackers.audit.cells import area_under_curve

    detector = attack("detection", with_patterns(ORIGINALS), ORIGINALS)
    assert area_under_curve(detector, REAL, with_patterns(REAL)) > 0.95
    blind = attack("detection", ORIGINALS, ORIGINALS)
    assert 0.3 < area_under_curve(blind, REAL, waves(90, 3)) < 0.7
