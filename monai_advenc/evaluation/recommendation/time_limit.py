# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The time that a search may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Result = TypeVar("Result")


class OutOfTimeError(Exception):
    """The time that a search may take has passed; what is measured stays on disk."""


class TimeLimit:
    """A moment at which a search stops. No work is begun that would take longer, once it is known how long it takes.

    Args:
        minutes: From now; ``None``: never.
    """

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes
        self._seconds: dict[str, float] = {}
        self._has_worked = False

    def require_more(self, seconds: float = 0) -> None:
        """Raise :class:`OutOfTimeError` if it is that late, or would be after another piece of work.

        Args:
            seconds: How long that piece is expected to take.
        """
        if self._end is not None and time.monotonic() + seconds >= self._end:
            raise OutOfTimeError

    def note_work(self) -> None:
        """Note that this call got on, so that no other work needs to begin that may not end in time."""
        self._has_worked = True

    def pieces(
        self,
        kind: str,
        results: Iterable[Result],
        count: int,
        workers: int,
        expected: Callable[[], float] = lambda: 0,
    ) -> Iterator[Result]:
        """Yield the results of pieces of work, a round of one for each worker at a time, while time is left.

        Args:
            kind: What they are. The first round of a call begins while any time is left, so that each call gets on.
            results: The results.
            count: How many there will be.
            workers: Worker processes; 0 and 1: one piece after the other.
            expected: Estimates the seconds of the first round of this kind.

        Raises:
            OutOfTimeError: Another round would take too long, if it takes as long as those before.
        """
        if self._end is not None and self._has_worked and kind not in self._seconds:
            self._seconds[kind] = expected()
        self.require_more(self._seconds.get(kind, 0) if self._has_worked else 0)
        start, width = time.monotonic(), max(1, workers)
        for place, result in enumerate(results, start=1):
            self.note_work()
            yield result
            self._seconds[kind] = (time.monotonic() - start) / -(-place // width)
            if place < count:
                self.require_more(self._seconds[kind] if place % width == 0 else 0)
