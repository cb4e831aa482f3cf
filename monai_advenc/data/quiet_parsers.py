# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Silence for the parsers of image files while a file is read."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_TALKING = ("pydicom", "highdicom", "libjpeg", "openjpeg", "nibabel.global")
"""Loggers that write a line to the terminal for each irregularity of each file."""


@contextmanager
def quiet_parsers() -> Iterator[None]:
    """Suppress warnings and log lines: many real files break rules, and this package reports what matters."""
    levels = {logger: logger.level for logger in map(logging.getLogger, _TALKING)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in levels:
                logger.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in levels.items():
                logger.setLevel(level)
