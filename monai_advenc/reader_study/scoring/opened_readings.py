# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Join every answer with the truth from the opened answer sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monai_advenc.reader_study.questions import ENCRYPTED_SIDE
from monai_advenc.reader_study.serving.answers import Answer, Event
from monai_advenc.reader_study.serving.reading_session import seconds_in_view
from monai_advenc.reader_study.study import AnswerSheet, SealedReading, Study


@dataclass(frozen=True)
class Reading:
    """One answered reading with its truth.

    Attributes:
        truth: From the answer sheet.
        answer: What the reader answered, and when.
        said: Its decisive part: the class, or the side of the encrypted image in a pair.
        server_seconds: Time from the image's delivery to the answer without pauses, measured by the server.
        simulated: Whether a simulated reader gave it.
    """

    truth: SealedReading
    answer: Answer
    said: str
    server_seconds: float | None
    simulated: bool

    @property
    def right(self) -> bool:
        """Whether the class (or the side) was right."""
        return self.said == (self.truth.encrypted_side or self.truth.label)


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
            said = str(answer.answers[ENCRYPTED_SIDE if planned.is_pair else study.class_question.name])
            seconds = seconds_in_view(happened.get(planned.id, []), answer.answered_at)
            simulated = answer.simulated or study.simulated
            opened.append(Reading(sheet.readings[planned.id], answer, said, seconds, simulated))
    return tuple(opened)
