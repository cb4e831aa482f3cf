# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Bad input under ``python -m monai.bundle``: one line and exit status 2, as from the commands of this package."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar, cast

from ignite.engine import Engine

from monai_advenc.errors import EXIT_BAD_INPUT, AdvencError

P = ParamSpec("P")
T = TypeVar("T")


def refuses_in_one_line(function: Callable[P, T]) -> Callable[P, T]:
    """Let an :class:`AdvencError` end the command in one line; a caller from Python gets what was raised.

    MONAI wraps what an expression raises, so that the message would stand in the middle of two tracebacks.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with _untold_by_loggers():
                return function(*args, **kwargs)
        except Exception as error:  # Whatever MONAI and ignite wrapped it in; all else is raised again.
            refusal = refusal_in(error)
            if refusal is None or not _is_monai_command():
                raise
            sys.stderr.write(f"error: {' '.join(str(refusal).split())}\n")
            raise SystemExit(EXIT_BAD_INPUT) from None

    return wrapped


@refuses_in_one_line
def run_engine(engine: Engine) -> None:
    """Run a trainer or an evaluator of MONAI.

    Raises:
        AdvencError: Any, as an image that cannot be read is found in the middle.
    """
    cast("Callable[[], None]", engine.run)()


def refusal_in(error: BaseException | None) -> AdvencError | None:
    """The :class:`AdvencError` that an exception is, or that MONAI's transforms and engines wrapped in it.

    Only what an exception was raised ``from`` counts: one raised while an :class:`AdvencError` was being handled is a
    defect, and keeps its traceback.
    """
    while error is not None and not isinstance(error, AdvencError):
        error = error.__cause__
    return error


@contextmanager
def _untold_by_loggers() -> Iterator[None]:
    """Drop what is logged while an :class:`AdvencError` is on its way: ignite and MONAI log it at each level."""
    if not _is_monai_command():
        yield
        return
    known = [logging.root, *logging.root.manager.loggerDict.values()]
    # Where one such function calls another, the outer one's filters stay until it ends.
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
