# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Silence for the parsers of image files while a file is read."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_TALKING = ("pydicom", "highdicom", "libjpeg", "openjpeg", "nibabel")
"""Packages whose loggers write a line to the terminal for each irregularity of each file."""

_IMPORTED_LATE = (
    "nibabel.global",
    "pydicom",
    "pydicom.pixels.utils",
    "pydicom.pixels.decoders.base",
    "libjpeg",
    "openjpeg",
    "openjpeg.utils",
)
"""Loggers of modules that may be imported only while the first file is read."""

_reading: ContextVar[bool] = ContextVar("reading", default=False)
"""Whether this thread reads a file just now. Others may log meanwhile."""


class _NotWhileReading(logging.Filter):
    """Drops what is logged while a file is read.

    Changing a logger's level instead would empty the caches of all loggers of the process, of which torch and MLflow
    have hundreds: twice for each file, that took longer than parsing it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is to be logged."""
        return not _reading.get()


_FILTER = _NotWhileReading()
_known = 0
"""How many loggers there were when the filter was last given to those of the parsers."""


@contextmanager
def quiet_parsers() -> Iterator[None]:
    """Suppress warnings and log lines: many real files break rules, and this package reports what matters."""
    _filter_parsers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = _reading.set(True)
        try:
            yield
        finally:
            _reading.reset(before)


def _filter_parsers() -> None:
    """Give the filter to each logger of the parsers; modules imported later bring new ones."""
    global _known  # noqa: PLW0603 - As loggers themselves, this belongs to the process.
    loggers = logging.root.manager.loggerDict
    if len(loggers) == _known:
        return
    for name in _IMPORTED_LATE:
        logging.getLogger(name)
    now = list(loggers.items())
    for name, logger in now:
        # A name may stand there only as the parent of others.
        if name.partition(".")[0] in _TALKING and isinstance(logger, logging.Logger):
            logger.addFilter(_FILTER)  # Once, however often it is given.
    _known = len(now)  # Last: another thread that reads goes on only when the filters are there.
