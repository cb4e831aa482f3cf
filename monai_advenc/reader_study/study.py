# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The two halves of a study on disk: the part that the server reads, and the sealed answer sheet that it must not read.

``study.json`` and ``images/`` are served. ``answer_sheet.json`` says which image is which; it lies in another folder,
readable by its owner only. The sheet holds the checksum of the study with plan and order, and the study holds the
checksum of the sheet, so neither can be changed alone. A person who noted the latter before the first answer can detect
a change of both.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

from pydantic import Field, ValidationError, field_validator

from monai_advenc.errors import DatasetError, SettingsError
from monai_advenc.files.atomic import sha256_of
from monai_advenc.reader_study.building.design import Condition, Design
from monai_advenc.reader_study.questions import FORCED_CHOICE, Question
from monai_advenc.settings import Settings, first_problem

STUDY_NAME = "study.json"
IMAGES_NAME = "images"
ANSWERS_NAME = "answers.sqlite"
SHEET_NAME = "answer_sheet.json"

BYTES_PER_PIXEL = 2
"""Bytes per pixel and channel in the image files."""


class PlannedReading(Settings):
    """One item that a reader answers: one image, or an original next to its encrypted version.

    Attributes:
        id: Random; reveals neither the case nor the condition.
        session: From 0.
        images: Names of one or two files below ``images/``.
    """

    id: str
    session: int
    images: tuple[str, ...] = Field(min_length=1, max_length=2)

    @field_validator("images")
    @classmethod
    def _stay_in_the_folder(cls, images: tuple[str, ...]) -> tuple[str, ...]:
        if any(PurePosixPath(image).name != image or image.startswith(".") for image in images):
            raise ValueError("an image must lie in the folder of images")
        return images

    @property
    def is_pair(self) -> bool:
        """Whether two images are compared."""
        return len(self.images) == 2


class StudyReader(Settings):
    """A reader: public name, checksum of the token in their link, and all their readings in order."""

    name: str
    token_sha256: str
    readings: tuple[PlannedReading, ...]


class AnalysisPlan(Settings):
    """The part of the analysis that is fixed before the first answer.

    Attributes:
        margin: Non-inferiority margin: the accuracy on encrypted images must be lower by less than this.
        alpha: Level of the one-sided non-inferiority test; intervals have the level ``1 - 2 alpha``.
    """

    margin: float = Field(default=0.05, gt=0, lt=1)
    alpha: float = Field(default=0.025, gt=0, lt=0.5)


class Study(Settings):
    """The content of ``study.json``: everything that the server needs, nothing that unblinds.

    Attributes:
        title: Shown to readers.
        design: Crossover or sequential.
        classes: The classes to choose from.
        questions: Questions about each image.
        session_names: One for each session.
        washout_days: Days between the last answer of the previous session and the first of this one.
        plan: The analysis that was fixed beforehand.
        simulated: Whether simulated readers may answer; every output then says so.
        shapes: ``(C, H, W)`` of each image file.
        readers: The readers.
        sheet_sha256: The study's fingerprint: checksum of the sealed answer sheet, which holds that of all the above.
    """

    format: Literal["monai-advenc reader study"] = "monai-advenc reader study"
    format_version: Literal[1] = 1
    title: str
    design: Design
    classes: tuple[str, ...]
    questions: tuple[Question, ...]
    session_names: tuple[str, ...]
    washout_days: tuple[float, ...]
    plan: AnalysisPlan
    simulated: bool
    shapes: dict[str, tuple[int, int, int]]
    readers: tuple[StudyReader, ...]
    sheet_sha256: str

    def questions_of(self, reading: PlannedReading) -> tuple[Question, ...]:
        """Questions about a reading."""
        return (FORCED_CHOICE,) if reading.is_pair else self.questions

    def digest(self) -> str:
        """SHA-256 of everything but the checksum of the sheet, which holds this digest."""
        content = self.model_dump(mode="json", exclude={"sheet_sha256"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def class_question(self) -> Question:
        """The question whose answer is right or wrong."""
        return next(question for question in self.questions if question.kind == "class")

    def reader_of(self, token: str) -> StudyReader | None:
        """The reader whose link holds a token; compared in constant time."""
        digest = token_digest(token)
        found = [reader for reader in self.readers if hmac.compare_digest(reader.token_sha256, digest)]
        return found[0] if found else None

    def require_images(self, folder: Path) -> None:
        """Check that a folder holds all images of the study.

        Raises:
            DatasetError: An image is missing or truncated.
        """
        for name, shape in self.shapes.items():
            path = folder / IMAGES_NAME / name
            if not path.is_file() or path.stat().st_size != BYTES_PER_PIXEL * math.prod(shape):
                raise DatasetError(f"{path} is missing or truncated; copy the whole study with its {IMAGES_NAME}/")

    @classmethod
    def load(cls, folder: Path) -> Study:
        """Read ``study.json`` in a folder.

        Raises:
            DatasetError: There is none, or it is damaged.
        """
        path = folder / STUDY_NAME
        return _load(cls, path, f"{folder} has no {STUDY_NAME}; give a folder that reader-study build finished")


class SealedReading(Settings):
    """The truth about one reading.

    Attributes:
        reader: Name of the reader.
        session: From 0.
        position: From 0, in the session.
        case: Id of the case.
        label: Its true class.
        condition: Condition of a single image.
        encrypted_side: Side of the encrypted image in a pair.
    """

    reader: str
    session: int
    position: int
    case: str
    label: str
    condition: Condition | None = None
    encrypted_side: Literal["left", "right"] | None = None


class AnswerSheet(Settings):
    """The content of ``answer_sheet.json``; readers must not see it.

    Attributes:
        nonce: Random; without it, a reader could test guessed conditions against the checksum.
        study_sha256: ``Study.digest``: the plan, the questions and the order, as they were built.
        seed: Seed of the randomization.
        originals: Folder of the originals, for the owner.
        encrypted: Folder of the encrypted images, for the owner.
        readings: By the id of the reading.
    """

    format: Literal["monai-advenc answer sheet"] = "monai-advenc answer sheet"
    format_version: Literal[1] = 1
    nonce: str
    study_sha256: str
    seed: int
    originals: str
    encrypted: str
    readings: dict[str, SealedReading]

    @classmethod
    def load(cls, path: Path, study: Study) -> AnswerSheet:
        """Read the answer sheet of a study.

        Raises:
            DatasetError: It is missing, damaged, or of another study, or the study was changed.
        """
        sheet = _load(cls, path, f"there is no answer sheet {path}; give the one in the study's sealed folder")
        if sha256_of(path) != study.sheet_sha256:
            raise DatasetError(f"{path} is not the answer sheet this study was built with, or was changed since")
        if sheet.study_sha256 != study.digest():
            raise DatasetError(
                f"{STUDY_NAME} was changed after it was built, but margin, level, questions and order are fixed; "
                "restore it from a copy"
            )
        return sheet


_Content = TypeVar("_Content", bound=Settings)


def _load(model: type[_Content], path: Path, absence: str) -> _Content:
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DatasetError(absence) from None
    except (OSError, ValidationError, SettingsError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise DatasetError(f"{path} is damaged ({problem}); use a copy of it, or build the study again") from None


def token_digest(token: str) -> str:
    """SHA-256 of a token; the study stores this instead of the token."""
    return hashlib.sha256(token.encode()).hexdigest()
