# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Plan and train the victims that a verdict needs: on originals, on encrypted images, and without the background."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import torch

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.regions import body
from monai_advenc.errors import ImageError
from monai_advenc.evaluation.accuracy import measure_accuracy
from monai_advenc.evaluation.division import Division
from monai_advenc.evaluation.measurement import (
    BODY_ONLY as BODY_ONLY,
    CLEAN,
    ENCRYPTED as ENCRYPTED,
    Measurement,
    append_measurements,
    measurements_of,
)
from monai_advenc.evaluation.victims import VictimJob, train_and_test, train_victims
from monai_advenc.networks.training import TrainingSettings
from monai_advenc.progress import Progress
from monai_advenc.workers import one_thread

DEFAULT_VICTIMS: Final = ("vgg_small", "preresnet_small")

_LEAST_BACKGROUND: Final = 0.05

_BUSY: Final = 1.5
"""If the processors are busy, so that training takes this many times longer, messages name both times."""


def victim_jobs(
    division: Division, networks: Sequence[str], seeds: Sequence[int], epochs: int | None, device: str
) -> list[VictimJob]:
    """The victims to train: on originals, on the encrypted images, and on these without their background.

    Args:
        division: The images.
        networks: Architectures.
        seeds: Seeds of the victims.
        epochs: Passes through the training images; ``None``: see :meth:`TrainingSettings.enough_for`.
        device: Where to train.
    """
    real, shared = division.originals, division.encrypted
    arms = {CLEAN: (real, {"orig": real}), ENCRYPTED: (shared, {"orig": real, "enc": shared})}
    if has_background(real):
        arms[BODY_ONLY] = without_background(shared), {"orig": without_background(real)}
    asked = TrainingSettings() if epochs is None else TrainingSettings(epochs=epochs)
    settings = asked.enough_for(division.train_images)
    return [
        VictimJob(
            network=network,
            trained_on=arm,
            train_set=train_set,
            test_sets=test_sets,
            settings=settings.model_copy(update={"seed": seed}),
            device=device,
            train_rows=train_rows,
            test_rows=test_rows,
            fold=fold,
        )
        for seed in seeds
        for network in networks
        for fold, (train_rows, test_rows) in enumerate(division.folds)
        for arm, (train_set, test_sets) in arms.items()
    ]


def without_background(images: ImageSet) -> ImageSet:
    """The images with zeros outside their body; an image without contrast stays as it is."""
    return replace(images, images=body_only(images.images))


def body_only(images: torch.Tensor) -> torch.Tensor:
    """Images ``(N, C, H, W)`` with zeros outside their body; an image without contrast stays as it is."""
    return torch.stack([image * _body_or_all(image) for image in images])


def has_background(images: ImageSet) -> bool:
    """Whether these are images of a body on a background, judged by the first of each class."""
    if images.images.shape[1] != 1:
        return False  # Photographs and stained tissue fill their frame.
    tried = images.first_of_each_class(30).images
    outside = [1 - float(_body_or_all(image).float().mean()) for image in tried]
    return sum(outside) / len(outside) >= _LEAST_BACKGROUND


def _body_or_all(image: torch.Tensor) -> torch.Tensor:
    try:
        return body(image)
    except ImageError:
        return torch.ones_like(image[:1], dtype=torch.bool)


class Minutes(NamedTuple):
    """How long victims take at least: what processes cost that start, and that wait for one memory, comes on top.

    Attributes:
        idle: On processors that do nothing else.
        now: On processors as busy as they are now.
    """

    idle: float
    now: float

    def __str__(self) -> str:
        busy = self.now >= 1 and self.now > _BUSY * self.idle
        if self.idle < 1:
            told = "a minute or less on idle processors"
            return f"{told}, at least {in_minutes(self.now)} while they are as busy as now" if busy else told
        told = f"at least {in_minutes(self.idle)} on idle processors"
        return f"{told}, {in_minutes(self.now)} while they are as busy as now" if busy else told


def estimated_minutes(jobs: Sequence[VictimJob], workers: int) -> Minutes:
    """Estimate how long victims take to train and test, from a few batches of each architecture.

    The first pass of a process loads and compiles what later ones have, so it is not timed.
    """
    samples = {job.network: job for job in jobs}
    with one_thread():  # As in the workers.
        seconds = {network: _seconds_an_image(job) for network, job in samples.items()}
    totals = [0.0, 0.0]
    for job in jobs:
        tested = sum(len(job.test_rows or test_set) for test_set in job.test_sets.values())
        for clock, (train, test) in enumerate(seconds[job.network]):
            totals[clock] += job.settings.epochs * (train * len(job.train_rows or job.train_set) + test * tested)
    at_once = max(1, min(workers, len(jobs)))
    return Minutes(*(total / 60 / at_once for total in totals))


def _seconds_an_image(job: VictimJob) -> tuple[tuple[float, float], tuple[float, float]]:
    """Time to train on one image and to test one, by a network that has run before: computing, and on the clock."""
    sample = job.train_set.first_of_each_class(2 * max(job.settings.batch_size, len(job.train_set.classes)))
    brief = job.settings.model_copy(update={"epochs": 1})
    trial = replace(job, settings=brief, train_set=sample, test_sets={}, train_rows=None, test_rows=None)
    network, _ = train_and_test(trial)
    measure_accuracy(network, sample)
    # A GPU computes outside of this process, whose own time says nothing of it.
    computing = time.process_time if torch.device(job.device).type == "cpu" else time.perf_counter
    read = [(computing(), time.perf_counter())]
    network, _ = train_and_test(trial)
    read.append((computing(), time.perf_counter()))
    measure_accuracy(network, sample)
    read.append((computing(), time.perf_counter()))
    idle, now = (
        [(after - before) / len(sample) for before, after in pairwise(each)] for each in zip(*read, strict=True)
    )
    return (idle[0], idle[1]), (now[0], now[1])


def missing_jobs(jobs: Sequence[VictimJob], done: Sequence[Measurement]) -> list[VictimJob]:
    """The jobs of which a measurement is missing."""
    measured = {each.victim for each in done if each.answers}
    return [
        job
        for job in jobs
        if any(
            (job.network, job.trained_on, job.settings.seed, name, job.fold) not in measured for name in job.test_sets
        )
    ]


def train_missing(
    jobs: Sequence[VictimJob], path: Path, done: Sequence[Measurement], workers: int, progress: Progress
) -> list[Measurement]:
    """Train the victims of which a measurement is missing, and append each to a file as soon as it is done.

    Args:
        jobs: All victims.
        path: The file of measurements.
        done: What it holds.
        workers: Worker processes.
        progress: Receives the estimated time and progress.

    Returns:
        The new measurements.
    """
    missing = missing_jobs(jobs, done)
    if missing:
        expected = estimated_minutes(missing, workers)
        progress.say(
            f"Training {len(missing)} networks for the verdict: {expected}, estimated from a few batches. Once one is "
            "done, the time left is measured."
        )
    found: list[Measurement] = []
    with progress.stage("training victims", len(missing)) as advance:
        for result in train_victims(missing, workers=workers):
            advance(1)
            measurements = measurements_of(result)
            append_measurements(path, measurements)
            found += measurements
    return found


def in_minutes(minutes: float) -> str:
    """A time in words."""
    return "less than a minute" if minutes < 1 else f"about {round(minutes)} min"
