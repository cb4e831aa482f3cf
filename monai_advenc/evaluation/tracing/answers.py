# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Score every recipient's key on one set of answers to the probes, and compare it with decoy keys.

All keys are scored on the same answers, so decoys cost neither queries nor encryption. A recipient whose copy the model
did not learn from has a key that is independent of the answers and drawn by the same law as the decoys, so its p value
is exact, however the model answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.paper import CORRESPONDENCES
from monai_advenc.encryption.profiles import FEW_CLASSES
from monai_advenc.errors import DatasetError, KeyFileError, SettingsError
from monai_advenc.evaluation.tracing.decoys import Decoys
from monai_advenc.evaluation.tracing.significance import LEVEL, Suspect, suspects, upper_bound

_BLOCK = 1 << 16
_UNITS = 1_000_000

Tables = NDArray[np.int64]
"""Targets ``(M, K, T)`` of each class of each key."""


@dataclass(frozen=True)
class Answers:
    """One label for each probe.

    Attributes:
        answered: Class that the model answered ``(N,)``.
        labels: True class of each probe ``(N,)``.
        toward: Class that the probe was perturbed toward ``(N,)``.
        classes: Class names in the order of the labels.
    """

    answered: NDArray[np.int64]
    labels: NDArray[np.int64]
    toward: NDArray[np.int64]
    classes: tuple[str, ...]

    def excess(self) -> NDArray[np.float64]:
        """Compare how often each answer came with how often it would come if the model did not see the perturbation.

        Such a model answers to images of one class alike, whatever they were perturbed toward. Right answers are left
        out: they say nothing about a key, and would favor keys that send the image's class to the probe's target.

        Returns:
            ``(K, K)``: row, the class perturbed toward; column, the answer. In about standard deviations, so that
            frequent answers count no more than rare ones.
        """
        number = len(self.classes)
        came = np.zeros((number, number, number))
        np.add.at(came, (self.labels, self.toward, self.answered), 1)
        asked = came.sum(axis=2)
        shares = asked / np.maximum(1, asked.sum(axis=1, keepdims=True))
        expected = came.sum(axis=1)[:, None, :] * shares[:, :, None]
        wrong = 1 - np.eye(number)[:, None, :]
        excess: NDArray[np.float64] = ((came - expected) * wrong).sum(axis=0)
        deviations: NDArray[np.float64] = excess / np.sqrt((expected * wrong).sum(axis=0) + 1)
        return deviations

    def scores(self, tables: Tables) -> NDArray[np.float64]:
        """Score keys ``(M,)`` by the statistic :data:`monai_advenc.evaluation.tracing.statistic.MODELS`."""
        # Whole numbers, whose sum does not depend on its order: equal keys must not differ by rounding.
        cells = np.rint(self.excess() * _UNITS).astype(np.int64)
        totals = np.zeros(len(tables), np.int64)
        for label in range(tables.shape[1]):
            for target in range(tables.shape[2]):
                totals += cells[:, label].take(tables[:, label, target])
        return totals / _UNITS


@dataclass(frozen=True, kw_only=True)
class ModelTrace:
    """Whose copy a model learned from, as far as its answers say.

    Attributes:
        suspects: Score and p value of each recipient.
        fits_best: The recipients whose keys no decoy beats; with few classes that is all there is to say.
        indistinguishable: Groups of recipients whose keys send the same classes to the same targets.
        answered: Number of answered probes.
        classes: Number of classes.
        targets: Targets of a class.
        decoys: Number of decoys.
        least_p_value: The lowest p value that any of the keys could get, whatever the answers.
        least_bound: The lowest bound of a p value, likewise.
        level: Highest probability of accusing anyone innocent.
    """

    suspects: tuple[Suspect, ...]
    fits_best: tuple[str, ...]
    indistinguishable: tuple[tuple[str, ...], ...]
    answered: int
    classes: int
    targets: int
    decoys: int
    least_p_value: float
    least_bound: float
    level: float

    @property
    def least_corrected(self) -> float:
        """The lowest bound, corrected for the number of recipients, that any of the keys could get."""
        return min(1.0, self.least_bound * len(self.suspects))

    @property
    def can_identify(self) -> bool:
        """Whether any answers at all could accuse one of so many recipients."""
        return self.classes > FEW_CLASSES and self.least_corrected <= self.level

    @property
    def accused(self) -> tuple[str, ...]:
        """The recipients whose copies the model learned from, at the level."""
        return tuple(each.recipient for each in self.suspects if each.accused)


def trace_answers(
    keys: Mapping[str, EncryptionKey], answers: Answers, decoys: Decoys, *, level: float = LEVEL
) -> ModelTrace:
    """Score each recipient's key on the answers, against decoys.

    Args:
        keys: Each recipient's key.
        answers: What the model answered.
        decoys: Seed and number of the decoys, fixed before the model is asked. A hundred thousand take a second for one
            or two targets a class, some minutes for four; see :meth:`Decoys.for_model`.
        level: Highest probability of accusing anyone innocent.

    Raises:
        DatasetError: There are no answers.
        KeyFileError: A key has other classes, another number of targets, or no correspondence of its own.
        SettingsError: There are too few decoys, or no keys.
    """
    if not len(answers.answered):
        raise DatasetError("expected at least one answered probe, got none; fill in the table of answers")
    targets = _targets_of(keys, answers.classes)
    own = np.array([key.correspondence.targets for key in keys.values()], np.int64)
    against, alike_drawn = np.empty(0), np.zeros(len(own), np.int64)
    # Block by block: a million tables of many classes would take gigabytes.
    for drawn in _blocks_of_tables(len(answers.classes), targets, decoys):
        against = np.concatenate([against, answers.scores(drawn)])
        read = np.sort(drawn, axis=2)  # Answers do not show the order of a class's targets.
        alike_drawn += [(read == np.sort(table, axis=1)).all(axis=(1, 2)).sum() for table in own]
    scores = dict(zip(keys, answers.scores(own).tolist(), strict=True))
    known = [np.sort(table, axis=1).tobytes() for table in own]
    alike = {table: tuple(name for name, each in zip(keys, known, strict=True) if each == table) for table in known}
    found = ModelTrace(
        suspects=tuple(suspects(scores, against, level)),
        fits_best=tuple(name for name, score in scores.items() if score >= max(against.max(), *scores.values())),
        indistinguishable=tuple(group for group in alike.values() if len(group) > 1),
        answered=len(answers.answered),
        classes=len(answers.classes),
        targets=targets,
        decoys=decoys.count,
        # The p value and its bound if all decoys that are read otherwise score lower.
        least_p_value=(1 + int(alike_drawn.min())) / (1 + decoys.count),
        least_bound=upper_bound(int(alike_drawn.min()), decoys.count),
        level=level,
    )
    # With few classes a low level alone would accuse whom the answers happen to fit.
    cleared = tuple(replace(each, accused=False) for each in found.suspects)
    return found if found.can_identify else replace(found, suspects=cleared)


def _targets_of(keys: Mapping[str, EncryptionKey], classes: tuple[str, ...]) -> int:
    """The number of targets of all keys, which must be for these classes."""
    if not keys:
        raise SettingsError("expected the keys of the recipients, got none; give the folder that holds them")
    for name, key in keys.items():
        if key.classes != classes:
            raise KeyFileError(
                f"the key of {name} is for the classes {', '.join(key.classes)}, the probes for {', '.join(classes)}; "
                "give keys and base network of one data set"
            )
        if key.correspondence.is_own:
            raise KeyFileError(
                f"the key of {name} is of the error-minimizing family: every class is its own target, so answers say "
                "nothing about it; leave it out, or trace files instead"
            )
        if len(classes) > FEW_CLASSES and key.correspondence.targets in CORRESPONDENCES.values():
            raise KeyFileError(
                f"the key of {name} has a correspondence that the paper prints, so it was not drawn at random and "
                "cannot be compared with decoys; leave it out"
            )
    numbers = {key.correspondence.num_targets for key in keys.values()}
    if len(numbers) > 1:
        raise KeyFileError("expected keys with one number of targets a class, got several; trace each kind by itself")
    return numbers.pop()


def draw_tables(num_classes: int, num_targets: int, decoys: Decoys) -> Tables:
    """Draw correspondences by the law of :meth:`monai_advenc.encryption.correspondence.ClassCorrespondence.draw`.

    Args:
        num_classes: Number of classes K.
        num_targets: Targets of a class T.
        decoys: Seed and number M.

    Returns:
        Targets ``(M, K, T)``.
    """
    return np.concatenate(list(_blocks_of_tables(num_classes, num_targets, decoys)))


def _blocks_of_tables(num_classes: int, num_targets: int, decoys: Decoys) -> Iterator[Tables]:
    generator = np.random.default_rng(int(decoys.seed, 16))
    missing = decoys.count
    while missing > 0:
        tables = _derangements(num_classes, _BLOCK, generator)[:, :, None]
        for _ in range(1, num_targets):
            column = _derangements(num_classes, len(tables), generator)[:, :, None]
            # A draft whose columns share a target is dropped as a whole, so all correspondences stay equally likely.
            tables = np.concatenate([tables, column], axis=2)[(tables != column).all(axis=(1, 2))]
        yield tables[:missing]
        missing -= len(tables)


def _derangements(num_classes: int, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw permutations without fixed points ``(count, K)``."""
    identity = np.arange(num_classes)
    parts: list[NDArray[np.int64]] = []
    missing = count
    while missing > 0:
        # About one permutation of e has no fixed point.
        drafts = generator.permuted(np.tile(identity, (3 * missing, 1)), axis=1)
        parts.append(drafts[(drafts != identity).all(axis=1)][:missing])
        missing -= len(parts[-1])
    return np.concatenate(parts) if parts else np.empty((0, num_classes), np.int64)
