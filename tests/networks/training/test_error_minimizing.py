# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Base networks of the error-minimizing family, on a toy task: bright or dark squares in noise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.encryption.noise import noise_in_body
from monai_advenc.encryption.radius import Freedom, radius_scales
from monai_advenc.errors import ImageError, OutputError, SettingsError
from monai_advenc.networks.training import EpochRecord, TrainingSettings, accuracy_of, load_checkpoint, train
from monai_advenc.networks.training.base import train_base
from monai_advenc.networks.training.error_minimizing import PERTURBED_ACCURACY, PerturbedImages
from monai_advenc.networks.training.learned import HeldOutAccuracy
from monai_advenc.perturbation.grain import Grain
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from tests.networks.training.test_train import CLASSES, StoppedError, image_set, network

SETTINGS = TrainingSettings(epochs=3, batch_size=16, seed=3)
PERTURBATION = PerturbationSettings(radius=0.5, step_size=0.1, steps=8, augmentation=Augmentation())
GRAIN = Grain(finest=0.7, coarsest=1.4)
NOISY = PERTURBATION.model_copy(update={"noise": 0.2})


def steps_of_training(images: Tensor) -> list[float]:
    return (images - image_set(len(images)).images).flatten(1).norm(dim=1).tolist()


def test_images_move_further_after_each_epoch_but_never_out_of_the_ball() -> None:
    seen: list[Tensor] = []

    class Watched(PerturbedImages):
        def after(self, epoch: int, network: nn.Module, images: Tensor) -> Tensor:
            seen.append(super().after(epoch, network, images))
            return seen[-1]

    train(network(), image_set(48), None, SETTINGS, renewal=Watched(image_set(48), None, PERTURBATION, 3))
    assert len(seen) == SETTINGS.epochs - 1
    for images in seen:
        assert max(steps_of_training(images)) <= PERTURBATION.radius
        assert images.min() >= 0
        assert images.max() <= 1
    assert min(steps_of_training(seen[-1])) > 0
    assert sum(steps_of_training(seen[-1])) > sum(steps_of_training(seen[0]))


def test_images_stay_within_the_multiple_of_their_own_noise() -> None:
    originals = image_set(12)
    moved = PerturbedImages(originals, None, NOISY, 0, Freedom("all", NOISY)).after(
        1, network().eval(), originals.images
    )
    rms = (moved - originals.images).double().square().mean(dim=(1, 2, 3)).sqrt()
    most = torch.tensor([0.2 * noise_in_body(image) for image in originals.images])
    assert (rms > 0).all()
    assert (rms <= most * (1 + 1e-5)).all()
    assert most.max() < NOISY.radius / 16, "the radius must not be what limits them"
    with pytest.raises(SettingsError, match="give freedom"):
        PerturbedImages(originals, None, NOISY, 0)


def test_the_accuracy_of_each_epoch_is_that_on_images_kept_aside_and_perturbed() -> None:
    others = image_set(30, seed=1)
    perturbed = PerturbedImages(image_set(60), others, PERTURBATION, 3)
    trained = train(network(), image_set(60), None, SETTINGS, renewal=perturbed, observe=perturbed.observe)
    observed = [record.observed[PERTURBED_ACCURACY] for record in trained.history]
    assert observed[-1] >= accuracy_of(trained.network, others.images, others.labels)
    assert observed[-1] > 0.9
    untrained = PerturbedImages(image_set(60), others, PERTURBATION.model_copy(update={"radius": 1e-6}), 3)
    assert untrained.observe(network().eval())[PERTURBED_ACCURACY] < 0.6


def test_an_image_without_a_body_is_refused_before_any_training(tmp_path: Path) -> None:
    images = image_set(90)
    images.images[7] = 0.5
    with pytest.raises(ImageError, match="no body"):
        train_base(
            images,
            tmp_path / "base.pt",
            error_minimizing=PERTURBATION,
            freedom=Freedom("body", PERTURBATION),
            network="vgg_small",
            settings=TrainingSettings(epochs=1, batch_size=16),
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("full_radius", "share"), [(True, 1.0), (False, 0.5)])
def test_pixels_outside_the_region_keep_every_bit_and_the_radius_shrinks_with_it(
    full_radius: bool, share: float
) -> None:
    originals = image_set(12)

    class Quarter(Freedom):
        def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
            regions = torch.zeros_like(images[:, :1])
            regions[:, :, :8, :8] = 1
            return regions, None if full_radius else radius_scales(regions, "l2")

    perturbed = PerturbedImages(originals, None, PERTURBATION, 0, Quarter("body", PERTURBATION))
    moved = perturbed.after(1, network().eval(), originals.images)
    change = moved - originals.images
    assert change[:, :, 8:].abs().max() == 0
    assert change[:, :, :, 8:].abs().max() == 0
    lengths = change.flatten(1).norm(dim=1)
    assert lengths.max() <= share * PERTURBATION.radius
    assert lengths.min() > 0


def test_a_training_that_was_stopped_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    images, unfinished = image_set(40), tmp_path / "unfinished"
    perturbed = PerturbedImages(images, None, PERTURBATION, 3)

    def stop(record: EpochRecord) -> None:
        if record.epoch == 3:
            raise StoppedError

    whole = train(network(), images, None, SETTINGS, renewal=perturbed)
    with pytest.raises(StoppedError):
        train(network(), images, None, SETTINGS, renewal=perturbed, progress=stop, unfinished=unfinished)
    resumed = train(network(), images, None, SETTINGS, renewal=perturbed, unfinished=unfinished)
    for one, other in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "other",
    [
        None,
        PerturbedImages(image_set(40), None, PERTURBATION.model_copy(update={"radius": 0.4}), 3),
        PerturbedImages(image_set(40), None, PERTURBATION.model_copy(update={"augmentation": None}), 3),
        PerturbedImages(image_set(40), None, NOISY, 3, Freedom("all", NOISY)),
        PerturbedImages(image_set(40), None, PERTURBATION.model_copy(update={"grain": GRAIN}), 3),
        PerturbedImages(image_set(40), None, PERTURBATION, 3, drawn_classes=True),
        PerturbedImages(image_set(40), None, PERTURBATION, 3, Freedom("body", PERTURBATION)),
        PerturbedImages(image_set(40), None, PERTURBATION, 3, Freedom("body", PERTURBATION, full_radius=True)),
    ],
)
def test_an_interrupted_training_is_not_continued_for_another_perturbation(
    other: PerturbedImages | None, tmp_path: Path
) -> None:
    images, unfinished = image_set(40), tmp_path / "unfinished"

    renewal = PerturbedImages(images, None, PERTURBATION, 3)
    with pytest.raises(StoppedError):
        train(network(), images, None, two_epochs(), renewal=renewal, progress=stop_second, unfinished=unfinished)
    with pytest.raises(OutputError, match=r"unfinished training in .*, got others"):
        train(network(), images, None, two_epochs(), renewal=other, unfinished=unfinished)


def test_only_a_network_that_sees_perturbed_images_can_learn_drawn_classes(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"drawn_classes is for .* give error_minimizing too"):
        train_base(image_set(60), tmp_path / "base.pt", drawn_classes=True)


def test_drawn_classes_are_as_many_of_each_have_nothing_to_do_with_the_own_and_come_from_the_seed() -> None:
    images = image_set(600)
    first, again, other = (
        PerturbedImages(images, None, PERTURBATION, seed, drawn_classes=True).originals for seed in (3, 3, 4)
    )
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.labels, other.labels)
    assert first.labels.bincount().tolist() == [600 // len(CLASSES)] * len(CLASSES)
    chance = 1 / len(CLASSES)
    assert abs(float((first.labels == images.labels).float().mean()) - chance) < 0.1
    assert torch.equal(first.images, images.images)
    assert torch.equal(PerturbedImages(images, None, PERTURBATION, 3).originals.labels, images.labels)


def test_a_network_of_drawn_classes_reads_perturbed_images_and_does_not_know_the_classes(tmp_path: Path) -> None:
    images = image_set(120)
    settings = TrainingSettings(epochs=12, batch_size=16, seed=3)
    trained = train_base(
        images,
        tmp_path / "base.pt",
        error_minimizing=PERTURBATION.model_copy(update={"radius": 2.0}),
        network="shallow",
        settings=settings,
        drawn_classes=True,
    )
    checkpoint = load_checkpoint(trained.path)
    assert checkpoint.notes["drawn_classes"] is True
    assert trained.validation_accuracy > 0.8
    # A network that learned them knows them all.
    assert accuracy_of(checkpoint.network, images.images, images.labels) < 0.8


def test_a_stopped_training_of_drawn_classes_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    images, unfinished = image_set(40), tmp_path / "unfinished"
    drawn = PerturbedImages(images, None, PERTURBATION, 3, drawn_classes=True)
    whole = train(network(), drawn.originals, None, two_epochs(), renewal=drawn)
    with pytest.raises(StoppedError):
        train(
            network(),
            drawn.originals,
            None,
            two_epochs(),
            renewal=drawn,
            progress=stop_second,
            unfinished=unfinished,
        )
    own = PerturbedImages(images, None, PERTURBATION, 3)
    with pytest.raises(OutputError, match="got others"):
        train(network(), own.originals, None, two_epochs(), renewal=own, unfinished=unfinished)
    resumed = train(network(), drawn.originals, None, two_epochs(), renewal=drawn, unfinished=unfinished)
    for one, other in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(one, other)


def two_epochs() -> TrainingSettings:
    return SETTINGS.model_copy(update={"epochs": 2})


def stop_second(record: EpochRecord) -> None:
    if record.epoch == 2:
        raise StoppedError


def test_the_file_of_a_base_network_names_family_and_radius_and_its_accuracy_on_perturbed_images(
    tmp_path: Path,
) -> None:
    path = tmp_path / "base.pt"
    settings = TrainingSettings(epochs=3, seed=1, batch_size=16)
    trained = train_base(image_set(90), path, error_minimizing=PERTURBATION, network="vgg_small", settings=settings)
    checkpoint = load_checkpoint(path)
    assert checkpoint.family == "error-minimizing"
    assert checkpoint.classes == CLASSES
    assert checkpoint.notes["radius"] == PERTURBATION.radius
    held_out = HeldOutAccuracy.noted(checkpoint)
    assert held_out is not None
    assert held_out.value == pytest.approx(trained.validation_accuracy, abs=1e-4)
    assert not (tmp_path / ".base.pt.unfinished").exists()
