# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Report bad input under ``python -m monai.bundle`` in one line with exit status 2, like this package's commands."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from ignite.engine import Engine

from monai_advenc.errors import EXIT_BAD_INPUT, AdvencError, OutputError, one_line

P = ParamSpec("P")
T = TypeVar("T")

_STORES = ("mlflow", "sqlalchemy")
"""Packages whose exceptions mean that MONAI's handler cannot write to the tracking store."""


def refuses_in_one_line(function: Callable[P, T]) -> Callable[P, T]:
    """End the command in one line on an :class:`AdvencError`; a caller from Python gets the exception.

    MONAI wraps exceptions of expressions, so the message would appear between two tracebacks.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with _untold_by_loggers():
                return function(*args, **kwargs)
        except Exception as error:  # MONAI or ignite may have wrapped it; all other exceptions are raised again.
            refusal = refusal_in(error)
            if refusal is None or not _is_monai_command():
                raise
            sys.stderr.write(f"error: {one_line(refusal)}\n")
            raise SystemExit(EXIT_BAD_INPUT) from None

    return wrapped


@refuses_in_one_line
def run_engine(engine: Engine) -> None:
    """Run a trainer or an evaluator of MONAI.

    Raises:
        AdvencError: Any error of the run, such as an unreadable image.
    """
    cast("Callable[[], None]", engine.run)()


def refusal_in(error: BaseException | None) -> AdvencError | None:
    """Return the :class:`AdvencError` that an exception is, or that MONAI's transforms and engines wrapped in it.

    An error of the tracking store counts as one.

    Only causes count (``raise ... from``): an exception raised while handling an :class:`AdvencError` is a bug and
    keeps its traceback.
    """
    while error is not None and not isinstance(error, AdvencError):
        if type(error).__module__.partition(".")[0] in _STORES:
            problem = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
            return OutputError(f"cannot track: {problem}; check the tracking store, or leave --tracking out")
        error = error.__cause__
    return error


@contextmanager
def _untold_by_loggers() -> Iterator[None]:
    """Drop log records about an :class:`AdvencError`, because ignite and MONAI log it at each level."""
    if not _is_monai_command():
        yield
        return
    known = [logging.root, *logging.root.manager.loggerDict.values()]
    # If one such function calls another, the outer one's filters stay until it ends.
    loggers = [each for each in known if isinstance(each, logging.Logger) and _tells_no_refusal not in each.filters]
    for logger in loggers:
        logger.addFilter(_tells_no_refusal)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_tells_no_refusal)


def _tells_no_refusal(_: logging.LogRecord) -> bool:
    return refusal_in(sys.exc_info()[1]) is None


def _is_monai_command() -> bool:
    called = getattr(sys.modules.get("__main__"), "__spec__", None)
    return called is not None and called.name == "monai.bundle.__main__"
