# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Running a table: the parts that are missing are measured, then it is drawn from all results."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from monai_advenc.correspondence import ClassCorrespondence
from monai_advenc.datasets.cifar10 import read_cifar10
from monai_advenc.datasets.image_folder import find_images, load_image_set
from monai_advenc.datasets.image_set import ImageSet
from monai_advenc.errors import DatasetError, SettingsError
from monai_advenc.files import FolderLock, write_atomically
from monai_advenc.paper import MRI_SIDE
from monai_advenc.perturbation import PerturbationSettings
from monai_advenc.reproduction import adaptation, key_recovery, victims
from monai_advenc.reproduction.experiment import Experiment
from monai_advenc.reproduction.laboratory import Laboratory, LaboratorySettings
from monai_advenc.reproduction.pictures import FIGURES
from monai_advenc.reproduction.preset import Preset, choose_preset
from monai_advenc.reproduction.results import Result, append_result, draw_table, read_results
from monai_advenc.tracking import Tracker
from monai_advenc.training import TrainingAugmentation, TrainingSettings

EXPERIMENTS: Mapping[int, Experiment] = MappingProxyType(
    {
        experiment.number: experiment
        for experiment in (
            victims.TABLE_1,
            victims.TABLE_2,
            key_recovery.TABLE_3,
            key_recovery.TABLE_5,
            victims.TABLE_7,
            key_recovery.TABLE_8,
            key_recovery.TABLE_9,
            adaptation.TABLE_10,
            victims.TABLE_12,
        )
    }
)
"""The tables of results by their numbers."""

BRAIN_TABLE = 12
TEST_SHARE = 0.2
"""Share of each class that is held out when brain-tumor images come in one folder, as in section 5."""

_NOT_IN_METRIC_NAMES = re.compile(r"[^\w\-. /]")

Stage = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Opens a progress bar: from a description and a total to a context that yields the function to advance it."""


@dataclass(frozen=True, kw_only=True)
class TableRun:
    """How to run a table.

    Attributes:
        number: The table.
        data: CIFAR-10 as :func:`monai_advenc.datasets.cifar10.read_cifar10` takes it; for table 12 class folders of
            brain-tumor images, or ``train`` and ``test`` with class folders below.
        preset: Name of the size.
        out: Folder for results; what tables share lies below it.
        seeds: Seeds of base networks, victims and attackers.
        device: Where to compute.
        workers: Worker processes on a CPU.
    """

    number: int
    data: Path
    preset: str
    out: Path
    seeds: Sequence[int]
    device: str = "cpu"
    workers: int = 0


def run_table(run: TableRun, *, tracker: Tracker, stage: Stage, say: Callable[[str], None]) -> str:
    """Measure what is missing of a table, and draw it.

    Args:
        run: What to run.
        tracker: Gets the parameters, and a child run with the accuracies of each part.
        stage: Opens progress bars.
        say: Takes a line about each thing that is made.

    Returns:
        The table in Markdown, which also lies in ``<out>/table-NN.md``; the results are in ``table-NN.jsonl``.

    Raises:
        SettingsError: There is no such table or preset.
        DatasetError: The data are not what the table needs.
        OutputError: The folder belongs to other settings, or the disk refuses.
    """
    if run.number not in EXPERIMENTS:
        raise SettingsError(f"there is no table {run.number} to measure; choose one of {_numbers()}")
    experiment, preset = EXPERIMENTS[run.number], choose_preset(run.preset)
    name = f"table-{run.number:02d}"
    results = read_results(run.out / f"{name}.jsonl")
    done = {(result.part, result.seed, result.preset) for result in results}
    missing = [
        (part, seed) for seed in run.seeds for part in experiment.parts(preset) if (part, seed, run.preset) not in done
    ]
    tracker.log_params({"table": run.number, "preset": run.preset, "seeds": " ".join(map(str, run.seeds))})
    if missing:
        folder = run.out / ("brain-tumors" if run.number == BRAIN_TABLE else "cifar10")
        folder.mkdir(parents=True, exist_ok=True)
        with FolderLock(folder):
            laboratory = _open_laboratory(run, preset, folder, say)
            wanted = [each for part, seed in missing for each in experiment.networks(preset, part, seed)]
            with stage("training networks", len(set(wanted))) as advance:
                laboratory.train_missing(wanted, progress=advance)
            with stage(f"measuring table {run.number}", len(missing)) as advance:
                for part, seed in missing:
                    result = _measure(experiment, laboratory, preset, run, part, seed)
                    append_result(run.out / f"{name}.jsonl", result)
                    results.append(result)
                    _track(tracker, result)
                    advance(1)
    drawn = draw_table(run.number, [result for result in results if result.preset == run.preset])
    write_atomically(run.out / f"{name}.md", drawn.encode(), overwrite=True)
    return drawn


def draw_figure(run: TableRun, *, say: Callable[[str], None]) -> Path:
    """Draw a figure of images from brain-tumor images or any other class folders.

    Args:
        run: What to draw; its number is that of the figure, its first seed decides the base network.
        say: Takes a line about each thing that is made.

    Returns:
        The PNG file, ``<out>/figure-N.png``; an earlier one is replaced.

    Raises:
        SettingsError: There is no such figure.
        DatasetError: The data are not class folders of images.
    """
    if run.number not in FIGURES:
        raise SettingsError(f"there is no figure {run.number} of images; choose one of {', '.join(map(str, FIGURES))}")
    folder = run.out / "brain-tumors"
    folder.mkdir(parents=True, exist_ok=True)
    with FolderLock(folder):
        preset = choose_preset(run.preset)
        sets = _read_brain_tumors(run.data, preset)
        laboratory = _open(run, folder, sets, _brain_settings(preset, len(sets[0].classes)), say)
        drawn = FIGURES[run.number](laboratory, run.seeds[0])
    path = run.out / f"figure-{run.number}.png"
    write_atomically(path, drawn, overwrite=True)
    return path


def _numbers() -> str:
    return ", ".join(map(str, EXPERIMENTS))


def _measure(
    experiment: Experiment, laboratory: Laboratory, preset: Preset, run: TableRun, part: str, seed: int
) -> Result:
    start = time.perf_counter()
    found = experiment.measure(laboratory, preset, part, seed)
    return Result(
        table=run.number,
        part=part,
        seed=seed,
        preset=run.preset,
        rows={row: dict(values) for row, values in found.rows.items()},
        facts=dict(found.facts),
        seconds=round(time.perf_counter() - start, 1),
    )


def _track(tracker: Tracker, result: Result) -> None:
    with tracker.child(f"{result.part} seed {result.seed}") as child:
        child.log_params({"part": result.part, "seed": result.seed})
        metrics = {f"{row} {column}": value for row, values in result.rows.items() for column, value in values.items()}
        found = {**metrics, **result.facts}
        child.log_metrics({_NOT_IN_METRIC_NAMES.sub("_", name): value for name, value in found.items()})


def _open_laboratory(run: TableRun, preset: Preset, folder: Path, say: Callable[[str], None]) -> Laboratory:
    if run.number == BRAIN_TABLE:
        sets = _read_brain_tumors(run.data, preset)
        return _open(run, folder, sets, _brain_settings(preset, len(sets[0].classes)), say)
    cifar10 = read_cifar10(run.data, train_size=preset.train_size, test_size=preset.test_size)
    return _open(run, folder, cifar10, _cifar10_settings(preset), say)


def _open(
    run: TableRun,
    folder: Path,
    sets: tuple[ImageSet, ImageSet],
    settings: LaboratorySettings,
    say: Callable[[str], None],
) -> Laboratory:
    return Laboratory(folder / run.preset, *sets, settings, device=run.device, workers=run.workers, say=say)


def _read_brain_tumors(data: Path, preset: Preset) -> tuple[ImageSet, ImageSet]:
    if (data / "train").is_dir() and (data / "test").is_dir():
        train_set = load_image_set(find_images(data / "train"), preset.brain_size, gray=True)
        test_files = find_images(data / "test", train_set.classes)
        sets = train_set, load_image_set(test_files, preset.brain_size, gray=True)
    else:
        sets = load_image_set(find_images(data), preset.brain_size, gray=True).split(TEST_SHARE)
    if len(sets[0].classes) < 3:
        raise DatasetError(f"two targets a class need at least 3 classes, {data} has {len(sets[0].classes)}")
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
