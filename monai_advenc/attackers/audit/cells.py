# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""One cell of an audit: an attacker with one victim architecture and one seed, tested on real images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import mannwhitneyu
from torch import nn

from monai_advenc.attackers.countermeasures import ATTACKERS
from monai_advenc.attackers.countermeasures.attacker import Filtered, ImageFilter, Resources, filtered
from monai_advenc.attackers.countermeasures.equipment import equip
from monai_advenc.attackers.countermeasures.plain_training import usual
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import AdvencError
from monai_advenc.evaluation.accuracy import Accuracy, measure_accuracy, predict_logits
from monai_advenc.evaluation.division import Division
from monai_advenc.evaluation.measurement import BODY_ONLY, CLEAN, ENCRYPTED, Measurement, measurements_of
from monai_advenc.evaluation.victims import VictimResult
from monai_advenc.settings import Settings

USUAL, MASKED = "usual", "background-masked"

ARMS: Final = {CLEAN: CLEAN, USUAL: ENCRYPTED, MASKED: BODY_ONLY}
"""The victims of the verdict: name in the audit, and name of their training set in an evaluation."""

Confusion = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, order=True)
class Place:
    """Which cell.

    Attributes:
        attacker: Name in :data:`ATTACKERS`, or :data:`CLEAN` for training on originals.
        network: Architecture.
        seed: Of weights, order and own clean images.
        fold: Which part of the images is tested.
    """

    attacker: str
    network: str
    seed: int
    fold: int = 0


class Cell(Settings):
    """What was measured in a cell; one line of ``cells.jsonl``.

    Attributes:
        attacker: Name of the attacker.
        network: Architecture.
        seed: Its seed.
        fold: Which part of the images was tested.
        labels: True class of each real image.
        answers: Class that the attacker's network names for each.
        epochs: ``[y][p]`` images of class y taken for p, after each epoch of the attacker's last training.
        auc: Area under the curve of a detector; it has no answers.
        train_images: Encrypted images that it was given.
        clean_images: Own clean images.
        seconds: Duration.
        problem: Why it could not be measured.
    """

    attacker: str
    network: str
    seed: int
    fold: int = 0
    labels: tuple[int, ...] = ()
    answers: tuple[int, ...] = ()
    epochs: tuple[Confusion, ...] = ()
    auc: float | None = None
    train_images: int = 0
    clean_images: int = 0
    seconds: float = 0.0
    problem: str | None = None

    @property
    def place(self) -> Place:
        """Which cell."""
        return Place(self.attacker, self.network, self.seed, self.fold)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """``[y][p]`` images of class y that the attacker's network takes for p."""
        count = len(self.epochs[0])
        cells = np.asarray(self.labels) * count + np.asarray(self.answers)
        return np.bincount(cells, minlength=count * count).reshape(count, count)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What all cells of an audit share.

    Attributes:
        division: The images, and how they are divided.
        resources: Everything that any attacker may have.
    """

    division: Division
    resources: Resources


def run_cell(ground: Ground, place: Place) -> Cell:
    """Let an attacker train, and test it on real images after each epoch.

    A problem of one attacker, such as a training that diverges, is noted in its cell.
    """
    start = time.perf_counter()
    try:
        cell = _measured(ground, place)
    except AdvencError as error:
        cell = Cell(**vars(place), problem=" ".join(str(error).split()))
    return cell.model_copy(update={"seconds": round(time.perf_counter() - start, 2)})


def _measured(ground: Ground, place: Place) -> Cell:
    division = ground.division
    train_rows, test_rows = division.folds[place.fold]
    encrypted, originals = division.encrypted.subset(train_rows), division.originals.subset(train_rows)
    scorer = Scorer(division.originals.subset(test_rows))
    resources = replace(ground.resources, network=place.network, observe=scorer.observe)
    own = None
    if place.attacker == CLEAN:
        network = usual(originals, resources, place.seed)
    else:
        attacker = ATTACKERS[place.attacker]
        encrypted, given = equip(attacker, encrypted, originals, resources, place.seed)
        network, own = attacker.attack(encrypted, given, place.seed), given.clean
        if attacker.detects:
            auc = area_under_curve(network, division.originals.subset(test_rows), division.encrypted.subset(test_rows))
            return Cell(**vars(place), auc=auc, train_images=len(encrypted), clean_images=len(own or ()))
    found = scorer.accuracy(network)
    return Cell(
        **vars(place),
        labels=found.labels,
        answers=found.answers,
        epochs=(*scorer.epochs, found.confusion),
        train_images=len(encrypted),
        clean_images=len(own or ()),
    )


def area_under_curve(detector: nn.Module, originals: ImageSet, encrypted: ImageSet) -> float:
    """Probability that a detector finds an encrypted image likelier to be encrypted than an original."""
    logits = [predict_logits(detector, images.images) for images in (encrypted, originals)]
    hits, misses = ((each[:, 1] - each[:, 0]).double().numpy() for each in logits)
    return float(mannwhitneyu(hits, misses).statistic / (len(hits) * len(misses)))


@dataclass
class Scorer:
    """Test networks on real images; a filter changes the images once for all epochs.

    Attributes:
        real: The images.
        epochs: The confusion matrix after each epoch.
    """

    real: ImageSet
    epochs: list[Confusion] = field(default_factory=list)
    _seen: dict[ImageFilter, ImageSet] = field(default_factory=dict)

    def observe(self, network: nn.Module) -> None:
        """Test a network after an epoch."""
        self.epochs.append(self.accuracy(network).confusion)

    def accuracy(self, network: nn.Module) -> Accuracy:
        """Test a network in evaluation mode."""
        if not isinstance(network, Filtered):
            return measure_accuracy(network, self.real)
        seen = self._seen.setdefault(network.image_filter, self.real)
        if seen is self.real:
            seen = self._seen[network.image_filter] = filtered(self.real, network.image_filter)
        return measure_accuracy(network.network, seen)


def as_measurements(cells: Sequence[Cell]) -> list[Measurement]:
    """The cells that the verdict goes by, as an evaluation has them."""
    found: list[Measurement] = []
    for cell in cells:
        if cell.attacker in ARMS and cell.problem is None:
            count = cell.confusion
            accuracy = Accuracy(tuple(map(tuple, count.tolist())), cell.answers, cell.labels)
            history = [float(np.trace(np.asarray(each)) / np.sum(each)) for each in cell.epochs]
            result = VictimResult(
                network=cell.network,
                trained_on=ARMS[cell.attacker],
                seed=cell.seed,
                last={"orig": accuracy},
                history={"orig": history},
                fold=cell.fold,
            )
            found += measurements_of(result)
    return found


def renamed_accuracy(confusion: NDArray[np.int64]) -> float:
    """Accuracy after the renaming of the answers that makes most of them right."""
    return float(confusion[linear_sum_assignment(confusion, maximize=True)].sum() / confusion.sum())


def right_answers(folds: Sequence[Cell]) -> NDArray[np.bool_]:
    """Which images of all folds an attacker's network gets right, its answers renamed in the best way."""
    total = np.sum([cell.confusion for cell in folds], axis=0)
    labels, answers = linear_sum_assignment(total, maximize=True)
    meaning = labels[answers.argsort()]
    return np.concatenate([meaning[np.asarray(cell.answers)] == np.asarray(cell.labels) for cell in folds])


def last_and_best(folds: Sequence[Cell]) -> tuple[float, float]:
    """Accuracy of one attacker, victim and seed on all folds, answers renamed: at the end, and after the best epoch."""
    last = renamed_accuracy(np.sum([cell.confusion for cell in folds], axis=0))
    epochs = min(len(cell.epochs) for cell in folds)
    by_epoch = [np.sum([cell.epochs[epoch] for cell in folds], axis=0) for epoch in range(epochs)]
    return last, max([last, *map(renamed_accuracy, by_epoch)])
