# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Bad input under ``python -m monai.bundle``: one line and exit status 2, as from the commands of this package."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from monai_advenc.errors import AdvencError

EXIT_BAD_INPUT = 2

P = ParamSpec("P")
T = TypeVar("T")


def refuses_in_one_line(function: Callable[P, T]) -> Callable[P, T]:
    """Let an :class:`AdvencError` end the command in one line; a caller from Python gets the error itself.

    MONAI wraps what an expression raises, so that the message would stand in the middle of two tracebacks.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except AdvencError as error:
            if not _is_monai_command():
                raise
            sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
            raise SystemExit(EXIT_BAD_INPUT) from None

    return wrapped


def _is_monai_command() -> bool:
    called = getattr(sys.modules.get("__main__"), "__spec__", None)
    return called is not None and called.name == "monai.bundle.__main__"
