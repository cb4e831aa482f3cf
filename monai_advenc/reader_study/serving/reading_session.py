# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Track a reader's progress: which reading is next, whether its session is open, and how long each reading took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monai_advenc.reader_study.serving.answers import Event, EventKind
from monai_advenc.reader_study.study import PlannedReading, Study, StudyReader

_SECONDS_A_DAY = 86400.0


@dataclass(frozen=True)
class Place:
    """A reader's position in the study.

    Attributes:
        reading: What to read now; ``None`` when all is done or during a washout.
        session: Index of the current or next session.
        done: Answered readings of this session.
        total: All readings of this session.
        opens_at: When the session opens, in seconds since 1970, during a washout.
    """

    reading: PlannedReading | None
    session: int
    done: int
    total: int
    opens_at: float | None = None


def place_of(study: Study, reader: StudyReader, answered: Mapping[str, float], now: float) -> Place:
    """Find a reader's position from the times of their answers.

    Args:
        study: The study.
        reader: The reader.
        answered: When each reading was answered, in seconds since 1970.
        now: Current time, in seconds since 1970.
    """
    reading = next((each for each in reader.readings if each.id not in answered), None)
    session = len(study.session_names) - 1 if reading is None else reading.session
    members = [each for each in reader.readings if each.session == session]
    done = sum(each.id in answered for each in members)
    before = [answered[each.id] for each in reader.readings if each.session == session - 1]
    opens_at = max(before) + study.washout_days[session] * _SECONDS_A_DAY if before else 0.0
    # A session that has begun stays open, even if the clock was changed.
    if not done and now < opens_at:
        return Place(None, session, done, len(members), opens_at)
    return Place(reading, session, done, len(members))


def is_paused(events: Sequence[Event]) -> bool:
    """Whether the last event of a reading is a pause."""
    stops = [event.kind for event in events if event.kind is not EventKind.shown]
    return bool(stops) and stops[-1] is EventKind.paused


def seconds_in_view(events: Sequence[Event], answered_at: float) -> float | None:
    """Seconds from first showing a reading to its answer, without pauses; ``None`` if it was never shown."""
    shown = [event.at for event in events if event.kind is EventKind.shown]
    if not shown:
        return None
    total = 0.0
    since: float | None = min(shown)
    for event in events:
        if event.kind is EventKind.paused and since is not None:
            total, since = total + (event.at - since), None
        elif event.kind is EventKind.resumed and since is None:
            since = event.at
    return max(0.0, total + (0.0 if since is None else answered_at - since))


@dataclass(frozen=True)
class Progress:
    """A reader's progress.

    Attributes:
        reader: Name.
        sessions: Readings answered and readings planned, for each session.
        last_answer: Seconds since 1970, or ``None``.
    """

    reader: str
    sessions: tuple[tuple[int, int], ...]
    last_answer: float | None


def progress_of(study: Study, reader: StudyReader, answered: Mapping[str, float]) -> Progress:
    """Compute a reader's progress from the times of the answers, without reading an answer."""
    given = [reading for reading in reader.readings if reading.id in answered]
    done, planned = (Counter(each.session for each in readings) for readings in (given, reader.readings))
    sessions = tuple((done[number], planned[number]) for number in range(len(study.session_names)))
    return Progress(reader.name, sessions, max((answered[each.id] for each in given), default=None))
