# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A victim's answers as given, and renamed: what is always wrong in one way is right after renaming the classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from monai_advenc.evaluation.measurement import Measurement, title_of


@dataclass(frozen=True)
class Victim:
    """A victim's answers, perhaps renamed, and which of them are right, ``(N,)``."""

    measured: Measurement
    right: NDArray[np.bool_]
    renamed: bool

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())

    def name(self, seeds: int) -> str:
        """Architecture and training set; the seed only where it tells victims apart."""
        seed = f", network seed {self.measured.seed}" if seeds > 1 else ""
        after = ", answers renamed" if self.renamed else ""
        return f"{self.measured.network} trained on {title_of(self.measured.trained_on)}{seed}{after}"


def ways_to_answer(measured: Measurement) -> Iterator[Victim]:
    """A victim's answers as given, and renamed in the way that makes most of them right, if that is another."""
    yield answers_as_given(measured)
    labels, answers = linear_sum_assignment(np.array(measured.confusion), maximize=True)
    if (labels != answers).any():
        renamed = labels[answers.argsort()][list(measured.answers)]
        yield Victim(measured, renamed == np.asarray(measured.labels), renamed=True)


def answers_as_given(measured: Measurement) -> Victim:
    """A victim's answers without renaming."""
    return Victim(measured, np.asarray(measured.answers) == np.asarray(measured.labels), renamed=False)
