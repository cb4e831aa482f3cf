# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The time that a search may take."""

from __future__ import annotations

import time


class OutOfTimeError(Exception):
    """The time that a search may take has passed; what is measured stays on disk."""


class TimeLimit:
    """A moment at which a search stops.

    Args:
        minutes: From now; ``None``: never.
    """

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    def require_more(self) -> None:
        """Raise :class:`OutOfTimeError` if it is that late."""
        if self._end is not None and time.monotonic() >= self._end:
            raise OutOfTimeError
