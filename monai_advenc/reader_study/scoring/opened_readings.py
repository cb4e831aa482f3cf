# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Join every answer with the truth from the opened answer sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monai_advenc.reader_study.questions import ENCRYPTED_SIDE
from monai_advenc.reader_study.serving.answers import Answer, Event
from monai_advenc.reader_study.serving.reading_session import seconds_in_view
from monai_advenc.reader_study.study import AnswerSheet, SealedReading, Study


@dataclass(frozen=True)
class Reading:
    """One answered reading with its truth.

    Attributes:
        truth: From the answer sheet.
        answers: What the reader said.
        right: Whether the class (or the side) was right.
        client_seconds: Time that the image was in view, measured by the page.
        server_seconds: Time from the image's delivery to the answer without pauses, measured by the server.
        answered_at: Seconds since 1970.
        simulated: Whether a simulated reader gave it.
    """

    truth: SealedReading
    answers: Mapping[str, Any]
    right: bool
    client_seconds: float
    server_seconds: float | None
    answered_at: float
    simulated: bool


def open_readings(
    study: Study, sheet: AnswerSheet, answers: Sequence[Answer], events: Sequence[Event]
) -> tuple[Reading, ...]:
    """Join every answer with its truth, in the order of the study."""
    given = {answer.reading: answer for answer in answers}
    happened: dict[str, list[Event]] = {}
    for event in events:
        happened.setdefault(event.reading, []).append(event)
    opened = []
    for reader in study.readers:
        for planned in reader.readings:
            answer = given.get(planned.id)
            if answer is None:
                continue
            truth = sheet.readings[planned.id]
            if planned.is_pair:
                right = answer.answers.get(ENCRYPTED_SIDE) == truth.encrypted_side
            else:
                right = answer.answers.get(study.class_question.name) == truth.label
            opened.append(
                Reading(
                    truth,
                    answer.answers,
                    right,
                    answer.client_seconds,
                    seconds_in_view(happened.get(planned.id, []), answer.answered_at),
                    answer.answered_at,
                    answer.simulated or study.simulated,
                )
            )
    return tuple(opened)
