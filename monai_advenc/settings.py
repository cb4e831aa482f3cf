# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Base class of all settings: frozen, validated once, with errors that never repeat the value given."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from monai_advenc.errors import SettingsError

ScheduleName = Literal["paper", "fast", "adaptive"]
"""Schedule of the lengths of PGD steps; see :class:`monai_advenc.perturbation.settings.PerturbationSettings`."""

_EARLIER_SCHEDULES: dict[object, ScheduleName] = {"fixed": "paper", "cosine": "fast"}

Schedule = Annotated[
    ScheduleName, BeforeValidator(lambda word: _EARLIER_SCHEDULES.get(word, word) if isinstance(word, str) else word)
]
"""The same, which also accepts ``fixed`` and ``cosine`` of keys and manifests that version 0.1 wrote."""


class Settings(BaseModel):
    """Frozen keyword-only settings; invalid values raise :class:`SettingsError` with one line.

    The line never repeats the value given: some settings are secret.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(f"{type(self).__name__}: {first_problem(error)}") from None


def require_between(name: str, value: float, lowest: float, highest: float = float("inf")) -> None:
    """Raise :class:`SettingsError` unless a number lies in a range, both ends included."""
    if not lowest <= value <= highest:
        expected = f"at least {lowest}" if highest == float("inf") else f"from {lowest} to {highest}"
        raise SettingsError(f"expected {name} {expected}, got {value}")


def first_problem(error: ValidationError) -> str:
    """The first problem of a pydantic error in one line: the field and what was expected, never the value given."""
    problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
