# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Questions to readers about each image, and which answers are valid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from monai_advenc.errors import SettingsError
from monai_advenc.settings import Settings

LONGEST_TEXT = 2000
"""Maximum length of a free text, in characters."""

ENCRYPTED_SIDE = "encrypted_side"
LEFT, RIGHT = "left", "right"

READING_COLUMNS = ("reader", "session", "position", "case", "label", "condition", ENCRYPTED_SIDE)
SCORED_COLUMNS = (f"said_{ENCRYPTED_SIDE}", "right", "seconds", "seconds_by_server", "answered_at", "simulated")
"""Columns of the table of readings, before and after the answers; no question may have one of these names."""


class Question(Settings):
    """One question.

    Attributes:
        name: Column in the results: lower-case letters, digits and underscores.
        text: What the reader sees.
        kind: ``class`` (the study's classes), ``scale`` (whole numbers), ``choice`` (the given choices), ``text``.
        choices: Choices of a ``choice``; those of a ``class`` are filled in when the study is built.
        lowest: Lowest number of a ``scale``.
        highest: Highest number of a ``scale``.
        lowest_label: What the lowest number means.
        highest_label: What the highest number means.
        required: Whether the reader must answer before going on.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    text: str = Field(min_length=1, max_length=300)
    kind: Literal["class", "scale", "choice", "text"]
    choices: tuple[str, ...] = ()
    lowest: int = 1
    highest: int = 5
    lowest_label: str = ""
    highest_label: str = ""
    required: bool = True

    @model_validator(mode="after")
    def _can_be_answered(self) -> Question:
        if self.kind == "choice" and len(set(self.choices)) < 2:
            raise ValueError(f"question {self.name} needs at least two different choices")
        if self.kind == "scale" and not 1 <= self.highest - self.lowest <= 10:
            raise ValueError(f"question {self.name} needs a scale of 2 to 11 numbers")
        return self

    def accept(self, answer: Any) -> str | int | None:
        """Return the answer as it is stored; ``None`` for none.

        Raises:
            SettingsError: It is no valid answer to this question.
        """
        if answer is None or answer == "":
            if self.required:
                raise SettingsError(f"{self.name}: expected an answer, got none")
            return None
        if self.kind == "scale":
            if isinstance(answer, bool) or not isinstance(answer, int) or not self.lowest <= answer <= self.highest:
                raise SettingsError(f"{self.name}: expected a whole number from {self.lowest} to {self.highest}")
            return answer
        if not isinstance(answer, str) or (self.kind != "text" and answer not in self.choices):
            raise SettingsError(f"{self.name}: expected one of the choices")
        if len(answer) > LONGEST_TEXT:
            raise SettingsError(f"{self.name}: expected at most {LONGEST_TEXT} characters")
        if any("\ud800" <= character <= "\udfff" for character in answer):
            raise SettingsError(f"{self.name}: expected valid Unicode text, got half of a surrogate pair")
        return answer


DIAGNOSIS = Question(name="diagnosis", text="What is your diagnosis?", kind="class")
CONFIDENCE = Question(
    name="confidence", text="How sure are you?", kind="scale", lowest_label="guessing", highest_label="certain"
)
COMMENT = Question(name="comment", text="Anything to add?", kind="text", required=False)
DEFAULT_QUESTIONS = (DIAGNOSIS, CONFIDENCE, COMMENT)

FORCED_CHOICE = Question(
    name=ENCRYPTED_SIDE, text="Which of the two images is encrypted?", kind="choice", choices=(LEFT, RIGHT)
)
"""Question about an original and its encrypted version side by side; guessing reaches 50 %."""


def accept_answers(questions: Sequence[Question], answers: Mapping[str, Any]) -> dict[str, str | int | None]:
    """Check the answers to all questions and return them as they are stored.

    Raises:
        SettingsError: An answer is missing or invalid, or belongs to no question.
    """
    unknown = set(answers) - {question.name for question in questions}
    if unknown:
        raise SettingsError(f"expected answers to {', '.join(question.name for question in questions)} only")
    return {question.name: question.accept(answers.get(question.name)) for question in questions}


def with_classes(questions: Sequence[Question], classes: Sequence[str]) -> tuple[Question, ...]:
    """Fill in the study's classes.

    Raises:
        SettingsError: There is not exactly one question for the class, it is optional, a name occurs twice, or a name
            is a column of the results.
    """
    names = [question.name for question in questions]
    asked = [question for question in questions if question.kind == "class"]
    if len(asked) != 1:
        raise SettingsError("expected exactly one question of kind class; its answer is scored as right or wrong")
    if not asked[0].required:
        raise SettingsError(f"question {asked[0].name} is scored and cannot be optional; remove its required: false")
    if len(set(names)) != len(names):
        raise SettingsError("expected questions of different names")
    taken = sorted({*READING_COLUMNS, *SCORED_COLUMNS} & set(names))
    if taken:
        raise SettingsError(f"the table of results already has a column {', '.join(taken)}; rename the question")
    return tuple(
        question.model_copy(update={"choices": tuple(classes)}) if question.kind == "class" else question
        for question in questions
    )


def load_questions(path: Path) -> tuple[Question, ...]:
    """Read a list of questions from YAML or JSON.

    Raises:
        SettingsError: The file cannot be read, or an entry is no valid question.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())[:200]
        raise SettingsError(f"cannot read {path} ({problem}); expected a YAML list of questions") from None
    if not isinstance(content, list) or not content or not all(isinstance(entry, dict) for entry in content):
        raise SettingsError(f"{path}: expected a list of questions, each with name, text and kind")
    return tuple(Question(**entry) for entry in content)
