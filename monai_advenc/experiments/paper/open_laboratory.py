# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Open the laboratory of a table: its images, correspondences and settings at the size of a preset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_advenc.data.images.cifar10 import read_cifar10
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.medmnist import part_at
from monai_advenc.data.images.overlap import overlap_warnings
from monai_advenc.encryption.correspondence import ClassCorrespondence
from monai_advenc.encryption.paper import MRI_SIDE
from monai_advenc.errors import DatasetError
from monai_advenc.experiments.paper import key_recovery, victims
from monai_advenc.experiments.paper.laboratory import Laboratory, LaboratorySettings
from monai_advenc.experiments.paper.preset import Preset, choose_preset
from monai_advenc.networks.training import TrainingAugmentation, TrainingSettings
from monai_advenc.perturbation.settings import PerturbationSettings

CIFAR10, BRAIN_TUMORS = "cifar10", "brain-tumors"
"""Folder names of the two laboratories; all but CIFAR-10 counts as brain tumors."""

TEST_SHARE = 0.2
"""Test share of each class if brain-tumor images come in one folder, as in section 5."""


@dataclass(frozen=True, kw_only=True)
class TableRun:
    """Options for running a table.

    Attributes:
        number: Number of the table.
        data: CIFAR-10 for :func:`monai_advenc.data.images.cifar10.read_cifar10`; for table 12 class folders of
            brain-tumor images, or ``train`` and ``test`` with class folders below. Figures accept either.
        preset: Name of the size.
        out: Folder for results, with the files that tables share.
        seeds: Seeds of base networks, victims and attackers.
        device: Device for the computation.
        workers: Worker processes on a CPU.
    """

    number: int
    data: Path
    preset: str
    out: Path
    seeds: Sequence[int]
    device: str = "cpu"
    workers: int = 0


def open_laboratory(folder: Path, run: TableRun, *, say: Callable[[str], None]) -> Laboratory:
    """Open or create the laboratory of CIFAR-10 or of brain tumors.

    Args:
        folder: Its folder, called :data:`CIFAR10` or :data:`BRAIN_TUMORS`.
        run: Images, preset, device and workers.
        say: Called with one line for each network or set that is made.

    Raises:
        DatasetError: The data do not fit the experiment.
        OutputError: The folder belongs to other settings or data.
    """
    preset = choose_preset(run.preset)
    if folder.name == CIFAR10:
        sets = read_cifar10(run.data, train_size=preset.train_size, test_size=preset.test_size)
        images, settings = (sets.train, sets.test), _cifar10_settings(preset)
    else:
        images = _read_brain_tumors(run.data, preset)
        for warning in overlap_warnings(*images):
            say(warning)
        settings = _brain_settings(preset, len(images[0].classes))
    return Laboratory(folder / run.preset, *images, settings, device=run.device, workers=run.workers, say=say)


def _read_brain_tumors(data: Path, preset: Preset) -> tuple[ImageSet, ImageSet]:
    if part_at(data) is not None or ((data / "train").is_dir() and (data / "test").is_dir()):
        train_set = load_image_set(find_images(data / "train"), preset.brain_size, gray=True)
        test_files = find_images(data / "test", train_set.classes)
        sets = train_set, load_image_set(test_files, preset.brain_size, gray=True)
    else:
        sets = load_image_set(find_images(data), preset.brain_size, gray=True).split(TEST_SHARE)
    if len(sets[0].classes) < 3:
        raise DatasetError(f"two targets per class need at least 3 classes, {data} has {len(sets[0].classes)}")
    return sets


def _cifar10_settings(preset: Preset) -> LaboratorySettings:
    return LaboratorySettings(
        base=preset.base,
        perturbation=PerturbationSettings(radius=preset.radius, step_size=preset.step_size, steps=preset.steps),
        correspondences={
            victims.BASIC: ClassCorrespondence.from_paper("section-3.3"),
            key_recovery.CONCAT: ClassCorrespondence.from_paper("table-4"),
            key_recovery.MIXUP_AND_CONCAT: ClassCorrespondence.from_paper("table-6"),
        },
        training=_training(preset, TrainingAugmentation(max_shift=4 / 32)),
        perturbation_batch=preset.perturbation_batch,
    )


def _brain_settings(preset: Preset, num_classes: int) -> LaboratorySettings:
    return LaboratorySettings(
        base=preset.brain_base,
        perturbation=PerturbationSettings(
            radius=preset.brain_radius,
            step_size=preset.brain_step_size,
            steps=preset.steps,
            reference_side=MRI_SIDE,
        ),
        correspondences={key_recovery.CONCAT: _brain_correspondence(num_classes)},
        training=_training(preset, TrainingAugmentation()),
        perturbation_batch=preset.perturbation_batch,
    )


def _brain_correspondence(num_classes: int) -> ClassCorrespondence:
    """Section 5's rule, class y to y + 1 and y + 3, for any number of classes; three classes take y + 2 instead."""
    second = 3 if num_classes > 3 else 2
    targets = tuple(((label + 1) % num_classes, (label + second) % num_classes) for label in range(num_classes))
    return ClassCorrespondence(targets=targets)


def _training(preset: Preset, augmentation: TrainingAugmentation) -> TrainingSettings:
    return TrainingSettings(
        epochs=preset.epochs,
        batch_size=preset.batch_size,
        peak_learning_rate=preset.peak_learning_rate,
        augmentation=augmentation,
    )
