# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Simulated readers, for tests and trial runs only.

They answer only studies that were built as trial runs. Every answer, table and page made with them says so.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from monai_advenc.errors import SettingsError
from monai_advenc.reader_study.building.design import Condition
from monai_advenc.reader_study.questions import ENCRYPTED_SIDE, LEFT, RIGHT, Question
from monai_advenc.reader_study.serving.answers import Answer, AnswerDatabase, Event, EventKind
from monai_advenc.reader_study.study import AnswerSheet, SealedReading, Study

_SECONDS_A_DAY = 86400.0
_BEGUN_BEFORE_S = 100 * _SECONDS_A_DAY


@dataclass(frozen=True)
class Habits:
    """How simulated readers answer.

    Attributes:
        accuracy: Accuracy on original images.
        discordant: Share of cases with exactly one right reading.
        loss: Accuracy on original minus accuracy on encrypted images.
        sees_encryption: Share of pairs whose encrypted image they find.

    Raises:
        SettingsError: The shares contradict each other.
    """

    accuracy: float = 0.75
    discordant: float = 0.05
    loss: float = 0.0
    sees_encryption: float = 0.5

    def __post_init__(self) -> None:
        gained = self.gained
        if not (gained >= 0 and 0 <= self.lost <= self.accuracy <= 1 - gained and 0 <= self.sees_encryption <= 1):
            raise SettingsError(
                "accuracy, loss and discordant share contradict; lower the loss or the discordant share"
            )

    @property
    def lost(self) -> float:
        """Share of cases that are right as original only."""
        return (self.discordant + self.loss) / 2

    @property
    def gained(self) -> float:
        """Share of cases that are right when encrypted only."""
        return (self.discordant - self.loss) / 2


def require_trial(study: Study) -> None:
    """Raise :class:`SettingsError` unless a study was built for simulated readers."""
    if not study.simulated:
        raise SettingsError("simulated readers answer trial studies only; build the study with --simulated")


def simulated_answers(
    study: Study, sheet: AnswerSheet, habits: Habits, seed: int = 0
) -> Iterator[tuple[Event, Answer]]:
    """Simulate every reading of a trial study: when it was shown, and the answer.

    Args:
        study: The study, built as simulated.
        sheet: Its answer sheet.
        habits: How the readers answer.
        seed: Seed of their answers.

    Raises:
        SettingsError: The study is not a trial run.
    """
    require_trial(study)
    generator = np.random.default_rng(seed)
    for reader in study.readers:
        # One draw per case decides both readings, so that a case is equally hard both times.
        luck: dict[str, float] = {}
        clock, session = time.time() - _BEGUN_BEFORE_S, 0
        for planned in reader.readings:
            truth = sheet.readings[planned.id]
            if planned.session > session:
                session, clock = planned.session, clock + study.washout_days[planned.session] * _SECONDS_A_DAY
            shown = Event(reader.name, planned.id, EventKind.shown, clock)
            seconds = float(generator.lognormal(2.5, 0.4))
            clock += seconds
            answers = _answers(study, truth, luck.setdefault(truth.case, float(generator.random())), habits, generator)
            identity = secrets.token_hex(16)
            yield shown, Answer(planned.id, identity, reader.name, answers, seconds, clock, simulated=True)


def simulate_readers(
    study: Study,
    sheet: AnswerSheet,
    database: AnswerDatabase,
    habits: Habits,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Answer all open readings of a trial study; return the number of answers.

    Raises:
        SettingsError: The study is not a trial run.
        OutputError: The answers cannot be written.
    """
    answered = {reading for reader in study.readers for reading in database.answered(reader.name)}
    count = 0
    for shown, answer in simulated_answers(study, sheet, habits, seed):
        if answer.reading not in answered:
            database.note(shown)
            database.record(answer)
            count += 1
        progress(1)
    return count


def _answers(
    study: Study, truth: SealedReading, draw: float, habits: Habits, generator: np.random.Generator
) -> dict[str, Any]:
    if truth.condition is None:
        found = generator.random() < habits.sees_encryption
        other = RIGHT if truth.encrypted_side == LEFT else LEFT
        return {ENCRYPTED_SIDE: truth.encrypted_side if found else other}
    right = _is_right(draw, truth.condition, habits)
    return {question.name: _answer(question, truth, right, generator) for question in study.questions}


def _is_right(draw: float, condition: Condition, habits: Habits) -> bool:
    accuracy = habits.accuracy
    if condition is Condition.original:
        return draw < accuracy
    return draw < accuracy - habits.lost or accuracy <= draw < accuracy + habits.gained


def _answer(question: Question, truth: SealedReading, right: bool, generator: np.random.Generator) -> str | int | None:
    if question.kind == "class":
        wrong = [name for name in question.choices if name != truth.label]
        return truth.label if right or not wrong else wrong[int(generator.integers(len(wrong)))]
    if question.kind == "scale":
        return int(generator.integers(question.lowest, question.highest + 1))
    if question.kind == "choice":
        return question.choices[int(generator.integers(len(question.choices)))]
    return "simulated reader" if question.required else None
