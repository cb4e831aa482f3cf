# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Store the answers of all readers in one SQLite file: acknowledge an answer only when it is on disk, count it once.

The database uses a write-ahead log, and every commit waits for the disk (``synchronous=FULL``). An answer that the page
showed as accepted survives a crash of the process and a power failure.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from threading import Lock
from typing import Any

from monai_advenc.errors import DatasetError, OutputError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    reading TEXT PRIMARY KEY,
    answer_id TEXT NOT NULL UNIQUE,
    reader TEXT NOT NULL,
    answers TEXT NOT NULL,
    client_seconds REAL NOT NULL,
    answered_at REAL NOT NULL,
    simulated INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS answers_by_reader ON answers (reader);
CREATE TABLE IF NOT EXISTS events (
    reader TEXT NOT NULL,
    reading TEXT NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS events_by_reader ON events (reader);
"""


class EventKind(str, Enum):
    """Kind of an event before the answer to a reading."""

    shown = "shown"
    paused = "paused"
    resumed = "resumed"


class Outcome(str, Enum):
    """Result of recording an answer."""

    stored = "stored"
    known = "known"
    """The same answer was stored before; it counts once."""
    refused = "refused"
    """Another answer is stored already and stays."""


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        reading: Id of the answered reading.
        answer_id: Random id from the page, so that an answer sent twice counts once.
        reader: Name of the reader.
        answers: By the name of the question.
        client_seconds: How long the image was in view, by the page's clock.
        answered_at: Seconds since 1970, by the server's clock.
        simulated: Whether a simulated reader gave it.
    """

    reading: str
    answer_id: str
    reader: str
    answers: Mapping[str, Any]
    client_seconds: float
    answered_at: float
    simulated: bool = False


@dataclass(frozen=True)
class Event:
    """An event of a reading, with its time."""

    reader: str
    reading: str
    kind: EventKind
    at: float


class AnswerDatabase:
    """Database of answers; safe to use from several threads.

    Args:
        path: The file; created if missing, readable by its owner only.

    Raises:
        OutputError: The file cannot be opened or is no such database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connection = sqlite3.connect(path, check_same_thread=False, timeout=30, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"cannot open {path} ({error}); free disk space or restore it from a copy") from None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> AnswerDatabase:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            # sqlite3 commits at the end of the block, and rolls back if it raises.
            with self._lock, self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
        except sqlite3.Error as error:
            raise OutputError(f"cannot write {self._path} ({error}); free some space on the disk") from None

    def record(self, answer: Answer) -> Outcome:
        """Store an answer; it is on disk when this returns.

        Raises:
            OutputError: It cannot be written.
        """
        with self._transaction() as connection:
            identity = (answer.reading, answer.answer_id)
            held = connection.execute(
                "SELECT reading, answer_id FROM answers WHERE reading = ? OR answer_id = ?", identity
            ).fetchall()
            if held:
                return Outcome.known if identity in held else Outcome.refused
            connection.execute(
                "INSERT INTO answers VALUES "
                "(:reading, :answer_id, :reader, :answers, :client_seconds, :answered_at, :simulated)",
                {**vars(answer), "answers": json.dumps(dict(answer.answers), ensure_ascii=False)},
            )
        return Outcome.stored

    def note(self, event: Event) -> None:
        """Store an event."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?)", (event.reader, event.reading, event.kind.value, event.at)
            )

    def answered(self, reader: str) -> dict[str, float]:
        """Return the time of each of a reader's answers, by reading."""
        with self._lock:
            rows = self._connection.execute("SELECT reading, answered_at FROM answers WHERE reader = ?", (reader,))
            return dict(rows)

    def events_of(self, reader: str, reading: str) -> list[Event]:
        """Return the events of a reading in order."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT reader, reading, kind, at FROM events WHERE reader = ? AND reading = ? ORDER BY rowid",
                (reader, reading),
            )
            return [_event(row) for row in rows]


def read_answers(path: Path) -> tuple[list[Answer], list[Event]]:
    """Read all answers and events of a study, also while it is served.

    Raises:
        DatasetError: There is no such database.
    """
    if not path.is_file():
        raise DatasetError(f"{path} does not exist, so there are no answers yet; serve the study first")
    try:
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            answers = connection.execute(
                "SELECT reading, answer_id, reader, answers, client_seconds, answered_at, simulated FROM answers"
            )
            events = connection.execute("SELECT reader, reading, kind, at FROM events ORDER BY rowid")
            return [_answer(row) for row in answers], [_event(row) for row in events]
    except (sqlite3.Error, ValueError) as error:
        raise DatasetError(f"cannot read the answers in {path} ({error}); use a copy of it") from None


def _answer(row: tuple[Any, ...]) -> Answer:
    reading, answer_id, reader, answers, seconds, at, simulated = row
    return Answer(reading, answer_id, reader, json.loads(answers), seconds, at, bool(simulated))


def _event(row: tuple[Any, ...]) -> Event:
    reader, reading, kind, at = row
    return Event(reader, reading, EventKind(kind), at)
