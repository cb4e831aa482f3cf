# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Readers that nobody is: for tests and for trying a study out, never for a result.

They answer only studies that were built as trial runs, and every answer, table and page that comes of them says so.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from monai_advenc.errors import SettingsError
from monai_advenc.reader_study.answers import Answer, AnswerDatabase, Event, EventKind
from monai_advenc.reader_study.design import Condition
from monai_advenc.reader_study.questions import ENCRYPTED_SIDE, LEFT, RIGHT, Question
from monai_advenc.reader_study.study import AnswerSheet, SealedReading, Study

_SECONDS_A_DAY = 86400.0


def simulate_readers(
    study: Study,
    sheet: AnswerSheet,
    database: AnswerDatabase,
    *,
    accuracy: float = 0.75,
    discordant: float = 0.05,
    loss: float = 0.0,
    sees_encryption: float = 0.5,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Answer everything in a trial study that is not answered yet.

    Args:
        study: The study, built as simulated.
        sheet: Its answer sheet.
        database: Where the answers go.
        accuracy: Share of original images that simulated readers get right.
        discordant: Share of cases of which one reading alone is right.
        loss: By how much the accuracy on encrypted images is lower.
        sees_encryption: Share of pairs whose encrypted image they find.
        seed: Decides their answers.
        progress: Called with 1 for each answer.

    Returns:
        The number of answers.

    Raises:
        SettingsError: The study is not a trial run, or the shares cannot be.
    """
    if not study.simulated:
        raise SettingsError("only a study built with --simulated may be answered by simulated readers")
    lost, gained = (discordant + loss) / 2, (discordant - loss) / 2
    if not (gained >= 0 and 0 <= lost <= accuracy <= 1 - gained and 0 <= sees_encryption <= 1):
        raise SettingsError("these shares cannot be: lower the loss or the share of discordant cases")
    generator = np.random.default_rng(seed)
    # One draw a reader and case decides both readings, so that a case is as hard when it comes again.
    luck: dict[tuple[str, str], float] = {}
    begun = time.time() - 100 * _SECONDS_A_DAY
    count = 0
    for reader in study.readers:
        answered = database.answered(reader.name)
        clock = begun
        session = 0
        for planned in reader.readings:
            truth = sheet.readings[planned.id]
            if planned.session > session:
                session, clock = planned.session, clock + study.washout_days[planned.session] * _SECONDS_A_DAY
            seconds = float(generator.lognormal(2.5, 0.4))
            draw = luck.setdefault((reader.name, truth.case), float(generator.random()))
            if planned.id in answered:
                continue
            if planned.is_pair:
                found = generator.random() < sees_encryption
                other = RIGHT if truth.encrypted_side == LEFT else LEFT
                answers: dict[str, Any] = {ENCRYPTED_SIDE: truth.encrypted_side if found else other}
            else:
                right = _is_right(draw, truth.condition, accuracy, lost, gained)
                answers = {q.name: _answer(q, truth, right, generator) for q in study.questions}
            database.note(Event(reader.name, planned.id, EventKind.shown, clock))
            clock += seconds
            identity = secrets.token_hex(16)
            database.record(Answer(planned.id, identity, reader.name, answers, seconds, clock, simulated=True))
            count += 1
            progress(1)
    return count


def _is_right(draw: float, condition: Condition | None, accuracy: float, lost: float, gained: float) -> bool:
    if condition is Condition.original:
        return draw < accuracy
    return draw < accuracy - lost or accuracy <= draw < accuracy + gained


def _answer(question: Question, truth: SealedReading, right: bool, generator: np.random.Generator) -> str | int | None:
    if question.kind == "class":
        wrong = [name for name in question.choices if name != truth.label]
        return truth.label if right or not wrong else wrong[int(generator.integers(len(wrong)))]
    if question.kind == "scale":
        return int(generator.integers(question.lowest, question.highest + 1))
    if question.kind == "choice":
        return question.choices[int(generator.integers(len(question.choices)))]
    return "simulated reader" if question.required else None
