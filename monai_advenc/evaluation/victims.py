# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train victims, the networks of an unauthorized recipient, on encrypted images and on originals for comparison.

The owner wants to know the accuracy on real images (Orig). A recipient with labeled real images could stop at the best
epoch, so the best epoch on Orig is reported together with the last. The accuracy on encrypted test images (Enc) only
shows that training succeeded; it has no practical use, because encrypting an image takes its true label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import SanityError
from monai_advenc.evaluation.accuracy import Accuracy, measure_accuracy
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.workers import map_in_workers


@dataclass(frozen=True, kw_only=True)
class VictimJob:
    """One victim to train and test.

    Attributes:
        network: A name in :data:`monai_advenc.networks.NETWORKS`.
        trained_on: Name of the training set, for tables.
        train_set: Training images.
        test_sets: Test images for each epoch: ``"orig"`` and, for encrypted training sets, ``"enc"``.
        settings: Training settings; the seed also decides the initial weights.
        device: Device to train on.
        train_rows: Rows of ``train_set`` to train on; ``None``: all. Jobs that share a set need its memory once.
        test_rows: Rows of each test set to test on; ``None``: all.
        fold: Number of this division into training and test images.
    """

    network: str
    trained_on: str
    train_set: ImageSet
    test_sets: Mapping[str, ImageSet]
    settings: TrainingSettings
    device: str = "cpu"
    train_rows: tuple[int, ...] | None = None
    test_rows: tuple[int, ...] | None = None
    fold: int = 0


@dataclass(frozen=True, kw_only=True)
class VictimResult:
    """Accuracy of a victim.

    Attributes:
        network: Its architecture.
        trained_on: Name of its training set.
        seed: Its seed.
        last: Accuracy after the last epoch, by test set.
        history: Accuracy after each epoch, by test set.
        fold: The fold of its job.
    """

    network: str
    trained_on: str
    seed: int
    last: Mapping[str, Accuracy]
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    fold: int = 0

    def peak(self, test_set: str) -> float:
        """Accuracy after the epoch that was best on this test set."""
        return max(self.history[test_set])


def train_victim(job: VictimJob) -> VictimResult:
    """Train one victim and test it after each epoch."""
    return train_and_test(job)[1]


def train_and_test(job: VictimJob, *, unfinished: Path | None = None) -> tuple[nn.Module, VictimResult]:
    """Train one victim and test it after each epoch.

    Args:
        job: The victim.
        unfinished: File that holds the training between two epochs; an interrupted one continues from it.

    Returns:
        The network of the last epoch, and its accuracy; ``last`` is empty if ``unfinished`` held all epochs.
    """
    train_set = _rows_of(job.train_set, job.train_rows)
    test_sets = {name: _rows_of(images, job.test_rows) for name, images in job.test_sets.items()}
    _, channels, *sides = train_set.images.shape
    built = get_network(job.network, len(train_set.classes), channels, max(sides), seed=job.settings.seed)
    last: dict[str, Accuracy] = {}

    def test(network: nn.Module) -> dict[str, float]:
        try:
            last.update({name: measure_accuracy(network, test_set) for name, test_set in test_sets.items()})
        except SanityError as error:
            told = f"{job.network} trained on {job.trained_on}, seed {job.settings.seed}"
            raise SanityError(f"{told}: {error}; leave this victim out, or use another seed") from None
        return {name: accuracy.value for name, accuracy in last.items()}

    trained = train(built.to(job.device), train_set, None, job.settings, observe=test, unfinished=unfinished)
    history = {name: [record.observed[name] for record in trained.history] for name in job.test_sets}
    return trained.network, VictimResult(
        network=job.network,
        trained_on=job.trained_on,
        seed=job.settings.seed,
        last=last,
        history=history,
        fold=job.fold,
    )


def _rows_of(images: ImageSet, rows: tuple[int, ...] | None) -> ImageSet:
    return images if rows is None else images.subset(rows)


def train_victims(jobs: Sequence[VictimJob], *, workers: int = 0) -> Iterator[VictimResult]:
    """Train victims, several at a time on a CPU.

    Args:
        jobs: Victims to train.
        workers: Number of processes with one thread each; 0 trains in this process, as jobs on a GPU always do.

    Yields:
        Results in the order of the jobs.

    Raises:
        SanityError: A victim cannot be measured; the results before it have been yielded.
    """
    if any(torch.device(job.device).type != "cpu" for job in jobs):
        yield from map(train_victim, jobs)
        return
    yield from map_in_workers(train_victim, jobs, workers)
