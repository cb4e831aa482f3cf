# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Run the demo on phantom volumes: slice, train a base network, encrypt, train victims, report.

It compares two encryptions of the same images: the paper's plain steps and augmentation-aware steps, with equal radius
and equal number of steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.manifest import Manifest
from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES, write_phantom
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.slicing import slice_cases
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import OutputError
from monai_advenc.evaluation.accuracy import measure_accuracy
from monai_advenc.evaluation.advice import BaseFacts
from monai_advenc.evaluation.measurement import CLEAN, measurements_of
from monai_advenc.evaluation.protection import without_background
from monai_advenc.evaluation.report import encryption_report, examples_of
from monai_advenc.evaluation.report.figures import overview
from monai_advenc.evaluation.sanity import require_above_chance, require_same_images
from monai_advenc.evaluation.verdict import judge
from monai_advenc.evaluation.victims import VictimJob, VictimResult, train_victim, train_victims
from monai_advenc.experiments.demo.page import (
    ARM_NAMES,
    PHANTOM_NOTE,
    QUICK_NOTE,
    REAL_NOTE,
    facts_of,
    readable,
    summarize_demo,
)
from monai_advenc.experiments.demo.recipe import AUGMENTATION_AWARE, BODY_ONLY, PAPER, QUICK_VOLUMES, DemoRecipe
from monai_advenc.files.atomic import write_atomically, write_json
from monai_advenc.files.parts import holds_files
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingResult, TrainingSettings, load_checkpoint, save_checkpoint, train
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.workers import map_in_workers

Stage = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Opens a progress bar from a description and a total; the context yields the function that advances it."""


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0) + time.perf_counter() - start, 1)


def run_demo(out: Path, *, seed: int, recipe: DemoRecipe, workers: int, stage: Stage) -> dict[str, Any]:
    """Run the demo and write everything below ``out``.

    Args:
        out: ``report.html``, ``summary.json``, ``shared/`` and ``private/`` go here. An interrupted demo with the
            same seed continues.
        seed: Seed of volumes, networks and keys.
        recipe: Sizes.
        workers: Number of processes with one thread each.
        stage: Opens a progress bar.

    Returns:
        The content of ``summary.json``.

    Raises:
        OutputError: ``out`` holds something else.
        SanityError: A network learned nothing, so the comparison would be meaningless.
    """
    _begin(out, seed, recipe)
    clock = _Clock()
    private = out / "private"
    with clock.time("volumes"), stage("phantom volumes", recipe.volumes) as advance:
        for _ in map_in_workers(partial(write_phantom, private / "volumes", seed), range(recipe.volumes), workers):
            advance(1)
    cases = find_cases(private / "volumes")
    with clock.time("slices"), stage("slicing", recipe.volumes) as advance:
        settings = SliceSettings(plane="axial", size=recipe.size, fit="pad-or-crop")
        slice_cases(cases.cases, settings, private / "slices", workers=workers, progress=advance)
    slices = find_images(private / "slices")
    originals = load_image_set(slices)
    train_set, test_set = originals.split(recipe.test_share, seed)
    clean_jobs = _victim_jobs(CLEAN, train_set, {"orig": test_set}, seed, recipe)
    with clock.time("base"), stage("training the base and victims on originals", 1 + len(clean_jobs)) as advance:
        clean_victims = _train_base_and(clean_jobs, train_set, private / "base.pt", seed, recipe, workers, advance)
    base = load_checkpoint(private / "base.pt").network
    base_accuracy = measure_accuracy(base, test_set)
    require_above_chance(base_accuracy, "the base network")
    folders = {PAPER: out / "shared-paper", AUGMENTATION_AWARE: out / "shared"}
    for arm, folder in folders.items():
        key = _key(private / f"key-{arm}.json", seed, recipe, augmentation_aware=arm == AUGMENTATION_AWARE)
        with clock.time(f"encrypt_{arm}"), stage(f"encrypting, {arm.replace('_', '-')}", len(slices.files)) as advance:
            encrypt_images(
                slices, folder, key, base, EncryptionOptions(formats=("png16",), workers=workers), progress=advance
            )
    encrypted = {arm: load_image_set(find_images(folder)) for arm, folder in folders.items()}
    with clock.time("victims"):
        jobs = _encrypted_jobs(train_set, test_set, encrypted, seed, recipe)
        with stage("training victims", len(jobs)) as advance:
            measurements = [each for result in clean_victims for each in measurements_of(result)]
            for result in train_victims(jobs, workers=workers):
                measurements += measurements_of(result)
                advance(1)
    manifest = Manifest.load(folders[AUGMENTATION_AWARE])
    judged = [readable(each) for each in measurements if each.trained_on != PAPER]
    verdict = judge(judged, base=BaseFacts(base_accuracy.value, "targeted"))
    summary = summarize_demo(seed, base_accuracy.value, manifest, measurements, clock.seconds, verdict)
    write_json(out / "summary.json", summary, overwrite=True)
    examples = examples_of(slices, folders[AUGMENTATION_AWARE], manifest)
    columns = [(example.title, example.original, example.encrypted) for example in examples]
    write_atomically(out / "overview.png", overview(columns), overwrite=True)
    page = encryption_report(
        slices,
        folders[AUGMENTATION_AWARE],
        title="Demo: encrypted slices of phantom brains",
        verdict=verdict,
        measurements=[readable(each) for each in measurements],
        headline=ARM_NAMES[AUGMENTATION_AWARE],
        notes=[*([QUICK_NOTE] if recipe.volumes <= QUICK_VOLUMES else []), PHANTOM_NOTE, REAL_NOTE],
        facts=facts_of(summary, recipe),
    )
    write_atomically(out / "report.html", page.encode(), overwrite=True)
    return summary


def _begin(out: Path, seed: int, recipe: DemoRecipe) -> None:
    marker, content = out / "private" / "demo", f"seed {seed}, {recipe}\n"
    if marker.is_file():
        if marker.read_text(encoding="utf-8") != content:
            raise OutputError(f"{out} holds a demo with another seed or other sizes; choose another --out")
        return
    if out.is_dir() and holds_files(out):
        raise OutputError(f"{out} is not empty and holds no demo; choose another --out")
    write_atomically(marker, content.encode())
    (out / "private").chmod(0o700)


def _run_training(training: Callable[[], TrainingResult | VictimResult]) -> TrainingResult | VictimResult:
    return training()


def _train_base_and(
    victims: Sequence[VictimJob],
    train_set: ImageSet,
    path: Path,
    seed: int,
    recipe: DemoRecipe,
    workers: int,
    advance: Callable[[int], None],
) -> list[VictimResult]:
    """Train the base network, unless it exists, in parallel with the victims, which are returned."""
    trainings: list[Callable[[], TrainingResult | VictimResult]] = [partial(train_victim, job) for job in victims]
    if not path.exists():
        network = get_network(recipe.base, len(train_set.classes), 1, recipe.size, seed=seed)
        # The last epoch, because the test set must not select the network.
        settings = TrainingSettings(epochs=recipe.base_epochs, seed=seed)
        # Second in order, because the first of two workers takes the first and the third.
        trainings.insert(1, partial(train, network, train_set, None, settings))
    trained: list[VictimResult] = []
    for result in map_in_workers(_run_training, trainings, workers):
        if isinstance(result, VictimResult):
            trained.append(result)
        else:
            save_checkpoint(path, result.network, recipe.base, train_set.classes, 1, recipe.size)
        advance(1)
    return trained


def _key(path: Path, seed: int, recipe: DemoRecipe, *, augmentation_aware: bool) -> EncryptionKey:
    if not path.exists():
        perturbation = PerturbationSettings(
            radius=recipe.radius,
            step_size=2.5 * recipe.radius / recipe.steps,
            steps=recipe.steps,
            augmentation=Augmentation() if augmentation_aware else None,
        )
        # From a seed, so that the figures can be reproduced; it protects only phantoms.
        EncryptionKey.draw(sorted(PHANTOM_CLASSES), perturbation, combiner="basic", seed=seed).save(path)
    return EncryptionKey.load(path)


def _encrypted_jobs(
    train_set: ImageSet, test_set: ImageSet, encrypted: dict[str, ImageSet], seed: int, recipe: DemoRecipe
) -> list[VictimJob]:
    jobs = []
    for arm, images in encrypted.items():
        train_images, test_images = images.with_ids(train_set.ids), images.with_ids(test_set.ids)
        require_same_images(train_images, train_set, "training images")
        jobs += _victim_jobs(arm, train_images, {"orig": test_set, "enc": test_images}, seed, recipe)
        if arm == AUGMENTATION_AWARE:
            tests = {"orig": without_background(test_set)}
            jobs += _victim_jobs(BODY_ONLY, without_background(train_images), tests, seed, recipe)
    return jobs


def _victim_jobs(
    arm: str, images: ImageSet, test_sets: dict[str, ImageSet], seed: int, recipe: DemoRecipe
) -> list[VictimJob]:
    # Not the base's seed, because a recipient does not start from the owner's weights.
    settings = TrainingSettings(epochs=recipe.victim_epochs, seed=1000 + seed)
    return [
        VictimJob(network=network, trained_on=arm, train_set=images, test_sets=test_sets, settings=settings)
        for network in recipe.victims
    ]
