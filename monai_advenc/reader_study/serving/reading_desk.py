# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Control what a reader may do: see the current image, answer it once, pause, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import HTTPException

from monai_advenc.errors import SettingsError
from monai_advenc.reader_study.questions import accept_answers
from monai_advenc.reader_study.serving.answers import Answer, AnswerDatabase, Event, EventKind, Outcome
from monai_advenc.reader_study.serving.practice import PRACTICE_CASES, PRACTICE_SIDE, practice_image
from monai_advenc.reader_study.serving.reading_session import Place, is_paused, place_of
from monai_advenc.reader_study.study import IMAGES_NAME, PlannedReading, Study, StudyReader

NOT_THERE, ELSEWHERE, NO_ANSWER = 404, 409, 422


class ReadingDesk:
    """Serve a study reading by reading.

    Args:
        folder: The study.
        database: Database for the answers.
        clock: Returns seconds since 1970.

    Raises:
        DatasetError: There is no study, or it lacks images.
    """

    def __init__(self, folder: Path, database: AnswerDatabase, clock: Callable[[], float] = time.time) -> None:
        self.study = Study.load(folder)
        self.study.require_images(folder)
        self._images = folder / IMAGES_NAME
        self._database = database
        self._clock = clock

    def state(self, reader: StudyReader) -> dict[str, Any]:
        """State for the page; it contains no case, no condition, and nothing about other readers."""
        place = self._place(reader)
        described: dict[str, Any] = {
            "title": self.study.title,
            "reader": reader.name,
            "simulated": self.study.simulated,
            "session": self.study.session_names[place.session],
            "done": place.done,
            "total": place.total,
            "opens_at": place.opens_at,
            "paused": False,
            "reading": None,
            "practice": None,
        }
        if place.reading is not None:
            events = self._database.events_of(reader.name, place.reading.id)
            described["paused"] = is_paused(events)
            described["reading"] = {
                "id": place.reading.id,
                "shapes": [self.study.shapes[image] for image in place.reading.images],
                "questions": [each.model_dump(mode="json") for each in self.study.questions_of(place.reading)],
            }
            # Until the first image of the study was shown: a reload begins again with the welcome.
            if not events and not self._database.answered(reader.name):
                described["practice"] = {
                    "shapes": [[1, PRACTICE_SIDE, PRACTICE_SIDE]] * PRACTICE_CASES,
                    "readings": len(reader.readings),
                }
        return described

    def image(self, reader: StudyReader, reading: str, index: int) -> bytes:
        """Pixels of the current image.

        Raises:
            HTTPException: Another image is current, or the reader pauses.
        """
        now = self._place(reader).reading
        if now is None or now.id != reading or not 0 <= index < len(now.images):
            raise HTTPException(NOT_THERE, "this is not the image to read now")
        if is_paused(self._database.events_of(reader.name, now.id)):
            raise HTTPException(ELSEWHERE, "the image is hidden while you pause")
        pixels = (self._images / now.images[index]).read_bytes()
        if index == 0:
            self._note(reader, now, EventKind.shown)
        return pixels

    def practice(self, index: int) -> bytes:
        """Pixels of a practice case; nothing is noted, and no answer to it is stored.

        Raises:
            HTTPException: There is no such case.
        """
        if not 0 <= index < PRACTICE_CASES:
            raise HTTPException(NOT_THERE, "there is no such practice case")
        return practice_image(index)

    def answer(
        self, reader: StudyReader, reading: str, answer_id: str, answers: Mapping[str, Any], seconds: float
    ) -> None:
        """Store an answer; it is on disk when this returns, and counts once even if it is sent several times.

        Raises:
            HTTPException: Another image is current, this one has another answer already, or the answer is invalid.
            OutputError: The answer cannot be written.
        """
        planned = next((each for each in reader.readings if each.id == reading), None)
        if planned is None:
            raise HTTPException(NOT_THERE, "this image is not yours to read")
        now = self._place(reader).reading
        its_turn = now is not None and now.id == planned.id
        if not its_turn and planned.id not in self._database.answered(reader.name):
            raise HTTPException(ELSEWHERE, "this is not the image to read now")
        try:
            accepted = accept_answers(self.study.questions_of(planned), answers)
        except SettingsError as error:
            raise HTTPException(NO_ANSWER, str(error)) from None
        given = Answer(planned.id, answer_id, reader.name, accepted, seconds, self._clock(), self.study.simulated)
        if self._database.record(given) is Outcome.refused:
            raise HTTPException(ELSEWHERE, "this image was answered before; the first answer stays")

    def pause(self, reader: StudyReader, paused: bool) -> None:
        """Stop or restart the time of the current image."""
        now = self._place(reader).reading
        if now is not None and paused != is_paused(self._database.events_of(reader.name, now.id)):
            self._note(reader, now, EventKind.paused if paused else EventKind.resumed)

    def _place(self, reader: StudyReader) -> Place:
        return place_of(self.study, reader, self._database.answered(reader.name), self._clock())

    def _note(self, reader: StudyReader, reading: PlannedReading, kind: EventKind) -> None:
        self._database.note(Event(reader.name, reading.id, kind, self._clock()))
