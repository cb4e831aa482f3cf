# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a reader stands: which reading is next, whether it may be read yet, and how long it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monai_advenc.reader_study.serving.answers import Event, EventKind
from monai_advenc.reader_study.study import PlannedReading, Study, StudyReader

_SECONDS_A_DAY = 86400.0


@dataclass(frozen=True)
class Place:
    """Where a reader stands.

    Attributes:
        reading: What to read now; ``None`` when all is done or a washout is on.
        session: Index of the session that is on or next.
        done: Readings answered in it.
        total: Readings in it.
        opens_at: When it opens, in seconds since 1970, while a washout is on.
    """

    reading: PlannedReading | None
    session: int
    done: int
    total: int
    opens_at: float | None = None


def place_of(study: Study, reader: StudyReader, answered: Mapping[str, float], now: float) -> Place:
    """Where a reader stands, from what they have answered and when.

    Args:
        study: The study.
        reader: The reader.
        answered: When each reading was answered, in seconds since 1970.
        now: The time, in the same seconds.
    """
    waiting = [reading for reading in reader.readings if reading.id not in answered]
    if not waiting:
        last = len(study.session_names) - 1
        count = sum(reading.session == last for reading in reader.readings)
        return Place(None, last, count, count)
    reading = waiting[0]
    members = [each for each in reader.readings if each.session == reading.session]
    done = sum(each.id in answered for each in members)
    before = [answered[each.id] for each in reader.readings if each.session == reading.session - 1]
    opens_at = max(before) + study.washout_days[reading.session] * _SECONDS_A_DAY if before else 0.0
    # Once begun, a session is open, whatever the clock was set to since.
    if not done and now < opens_at:
        return Place(None, reading.session, done, len(members), opens_at)
    return Place(reading, reading.session, done, len(members))


def is_paused(events: Sequence[Event]) -> bool:
    """Whether the last thing that happened to a reading is a pause."""
    stops = [event.kind for event in events if event.kind is not EventKind.shown]
    return bool(stops) and stops[-1] is EventKind.paused


def seconds_in_view(events: Sequence[Event], answered_at: float) -> float | None:
    """Seconds from first showing a reading to its answer, pauses left out; ``None`` if it was never shown."""
    shown = [event.at for event in events if event.kind is EventKind.shown]
    if not shown:
        return None
    total, since = 0.0, min(shown)
    running = True
    for event in events:
        if event.kind is EventKind.paused and running:
            total += event.at - since
            running = False
        elif event.kind is EventKind.resumed and not running:
            since = event.at
            running = True
    return max(0.0, total + (answered_at - since if running else 0.0))


@dataclass(frozen=True)
class Progress:
    """How far a reader is.

    Attributes:
        reader: Name.
        sessions: Readings answered and readings planned, for each session.
        last_answer: Seconds since 1970, or ``None``.
    """

    reader: str
    sessions: tuple[tuple[int, int], ...]
    last_answer: float | None


def progress_of(study: Study, reader: StudyReader, answered: Mapping[str, float]) -> Progress:
    """How far a reader is, from when readings were answered; looks at no answer."""
    done = [0] * len(study.session_names)
    planned = [0] * len(study.session_names)
    for reading in reader.readings:
        planned[reading.session] += 1
        done[reading.session] += reading.id in answered
    times = [answered[reading.id] for reading in reader.readings if reading.id in answered]
    return Progress(reader.name, tuple(zip(done, planned, strict=True)), max(times, default=None))
