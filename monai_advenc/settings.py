# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Base of all settings: frozen values, checked once, whose errors never repeat the value that was given."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from monai_advenc.errors import SettingsError

ScheduleName = Literal["paper", "fast", "adaptive"]
"""How the lengths of PGD steps go; see :class:`monai_advenc.perturbation.settings.PerturbationSettings`."""

_EARLIER_SCHEDULES: dict[object, ScheduleName] = {"fixed": "paper", "cosine": "fast"}

Schedule = Annotated[
    ScheduleName, BeforeValidator(lambda word: _EARLIER_SCHEDULES.get(word, word) if isinstance(word, str) else word)
]
"""The same, read from keys and manifests that version 0.1 wrote, too: it said ``fixed`` and ``cosine``."""


class Settings(BaseModel):
    """Frozen keyword-only settings; building them from bad values raises :class:`SettingsError`, one line.

    The line never repeats what was given: some settings are secret.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(f"{type(self).__name__}: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first problem of a pydantic error in one line: where, and what was expected, not what came."""
    problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
