# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Build a study from originals and encrypted images: blinded images, a schedule per reader, the sealed answer sheet."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.errors import OutputError
from monai_advenc.files.atomic import sha256_of, write_atomically, write_json
from monai_advenc.files.folder_lock import LOCK_NAME, FolderLock
from monai_advenc.files.parts import PART
from monai_advenc.reader_study.building.blinded_images import Names, draw_names, pair_cases, write_blinded
from monai_advenc.reader_study.building.design import (
    READING_SESSIONS,
    Case,
    Condition,
    Design,
    draw_cases,
    draw_side_pairs,
    draw_viewings,
)
from monai_advenc.reader_study.building.links import LINKS_NAME, Links, write_links
from monai_advenc.reader_study.questions import DEFAULT_QUESTIONS, LEFT, RIGHT, Question, with_classes
from monai_advenc.reader_study.study import (
    IMAGES_NAME,
    SHEET_NAME,
    STUDY_NAME,
    AnalysisPlan,
    AnswerSheet,
    PlannedReading,
    SealedReading,
    Study,
    StudyReader,
    token_digest,
)
from monai_advenc.settings import Settings

UNFINISHED_NAME = ".unfinished"
"""File that marks an interrupted build; the next build starts over."""

_OWNER_ONLY = 0o600
_TOKEN_BYTES = 24
_ID_BYTES = 8
_LONGEST_WASHOUT_DAYS = 3650


class StudyOptions(Settings):
    """Options of the study lead.

    Attributes:
        title: Shown to readers.
        readers: Number of readers.
        design: Crossover or sequential.
        seed: Seed of the randomization; keep it secret, because it reveals the conditions.
        cases: Cases to draw at random, stratified by class; ``None``: all.
        washout_days: Days between sessions.
        repeats: Images that each reader reads once more in a third session.
        pairs: Pairs for "which of the two is encrypted?", after everything else.
        plan: Margin and level of the analysis.
        simulated: Whether this is a trial run without doctors.
    """

    title: str = Field(default="Reader study", min_length=1, max_length=120)
    readers: int = Field(default=3, ge=1, le=1000)
    design: Design = Design.crossover
    seed: int = Field(ge=0)
    cases: int | None = Field(default=None, ge=1)
    washout_days: float = Field(default=28, ge=0, le=_LONGEST_WASHOUT_DAYS)
    repeats: int = Field(default=0, ge=0)
    pairs: int = Field(default=0, ge=0)
    plan: AnalysisPlan = AnalysisPlan()
    simulated: bool = False


@dataclass(frozen=True)
class BuiltStudy:
    """A study as built.

    Attributes:
        study: The study.
        sheet_path: The sealed sheet.
        links: Each reader's link, as a path that holds their token.
        speckled: Cases whose black background is no longer black when encrypted.
    """

    study: Study
    sheet_path: Path
    links: Links
    speckled: int


def build_study(
    originals: ImageFolder,
    encrypted: ImageFolder,
    out: Path,
    sealed: Path,
    options: StudyOptions,
    questions: Sequence[Question] = DEFAULT_QUESTIONS,
    progress: Callable[[int], None] = lambda _: None,
) -> BuiltStudy:
    """Write a study to serve and its sealed answer sheet.

    Args:
        originals: The originals.
        encrypted: Their encrypted versions, with the same ids.
        out: Folder to serve; new or empty.
        sealed: Folder for the answer sheet and the links; new or empty, not inside ``out``.
        options: Design and size.
        questions: Questions about each image.
        progress: Called with 1 for each case.

    Raises:
        OutputError: A folder is not empty, or another build is writing into it.
        DatasetError: The folders do not fit together.
        ImageError: An image cannot be read.
        SettingsError: The options ask for more cases, repeats or pairs than there are.
    """
    questions = with_classes(questions, originals.classes)
    cases = pair_cases(originals, encrypted)
    if options.cases is not None:
        cases = draw_cases(cases, options.cases, options.seed)
    # Drawn before anything is written: impossible numbers leave no folder behind.
    names = draw_names(cases)
    readers, sealed_readings, links = _draw(cases, names, options)
    with _locked_folders(out, sealed):
        shapes, speckled = write_blinded(originals, encrypted, cases, names, out / IMAGES_NAME, progress)
        sessions = _sessions(options)
        study = Study(
            title=options.title,
            design=options.design,
            classes=originals.classes,
            questions=questions,
            session_names=tuple(sessions),
            washout_days=tuple(sessions.values()),
            plan=options.plan,
            simulated=options.simulated,
            shapes=shapes,
            readers=readers,
            sheet_sha256="",
        )
        sheet = AnswerSheet(
            nonce=secrets.token_hex(16),
            study_sha256=study.digest(),
            seed=options.seed,
            originals=str(originals.root),
            encrypted=str(encrypted.root),
            readings=sealed_readings,
        )
        write_json(sealed / SHEET_NAME, sheet.model_dump(mode="json"), mode=_OWNER_ONLY)
        write_links(sealed, links)
        study = study.model_copy(update={"sheet_sha256": sha256_of(sealed / SHEET_NAME)})
        # Before study.json is written, so that a later build never takes the sheet of a finished study for a leftover.
        (sealed / UNFINISHED_NAME).unlink()
        write_json(out / STUDY_NAME, study.model_dump(mode="json"))
        (out / UNFINISHED_NAME).unlink()
    return BuiltStudy(study, sealed / SHEET_NAME, links, speckled)


@contextmanager
def _locked_folders(out: Path, sealed: Path) -> Iterator[None]:
    """Make both folders, or clear them of what a killed build left, and keep other builds out of them."""
    if out.resolve() in (sealed.resolve(), *sealed.resolve().parents):
        raise OutputError(f"{sealed} lies in {out}, which is served; choose a folder outside for the answer sheet")
    _require_free(out, sealed)
    try:
        out.mkdir(parents=True, exist_ok=True)
        sealed.mkdir(parents=True, exist_ok=True, mode=0o700)
        sealed.chmod(0o700)
    except OSError as error:
        raise OutputError(f"cannot make {error.filename}: {error.strerror}; choose another place") from None
    with FolderLock(out), FolderLock(sealed):
        _require_free(out, sealed)  # Another build may have finished since.
        for leftover in (*(out / IMAGES_NAME).glob("*"), sealed / SHEET_NAME, sealed / LINKS_NAME):
            leftover.unlink(missing_ok=True)
        for folder in (sealed, out):
            write_atomically(folder / UNFINISHED_NAME, b"", overwrite=True)
        yield


def _require_free(out: Path, sealed: Path) -> None:
    for folder, what in ((out, "a study"), (sealed, "an answer sheet")):
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; give a folder for {what}")
        # Each folder has its own mark: an interrupted build must not delete the answer sheet of another study.
        unfinished = (folder / UNFINISHED_NAME).is_file() and not (folder / STUDY_NAME).exists()
        # The study may lie in the folder of its sheet.
        if not unfinished and folder.is_dir() and _holds_others(folder, out):
            raise OutputError(f"{folder} is not empty, and {what} is never overwritten; give another folder")


def _holds_others(folder: Path, out: Path) -> bool:
    """Whether a folder holds more than the folder of the study, locks and what killed runs left unfinished."""
    others = (path for path in folder.iterdir() if path.name != LOCK_NAME and not PART.fullmatch(path.name))
    return any(
        path.resolve() != out.resolve()
        and (not out.resolve().is_relative_to(path.resolve()) or _holds_others(path, out))
        for path in others
    )


def _sessions(options: StudyOptions) -> dict[str, float]:
    """Days of washout before each session, by its name."""
    sessions = {"Session 1": 0.0, "Session 2": options.washout_days}
    if options.repeats:
        sessions["Session 3"] = options.washout_days
    if options.pairs:
        sessions["Side by side"] = 0.0
    return sessions


def _draw(
    cases: Sequence[Case], names: Names, options: StudyOptions
) -> tuple[tuple[StudyReader, ...], dict[str, SealedReading], Links]:
    """Draw the readers with their readings, the truth about these, and the readers' links."""
    readers, sealed, links = [], {}, []
    pair_session = READING_SESSIONS + (options.repeats > 0)
    for number in range(options.readers):
        drawn: list[tuple[int, Case, tuple[str, ...], dict[str, Any]]] = [
            (each.session, each.case, (names[each.condition, each.case.id],), {"condition": each.condition})
            for each in draw_viewings(cases, options.design, number, options.seed, options.repeats)
        ]
        for pair in draw_side_pairs(cases, number, options.seed, options.pairs):
            both = names[Condition.encrypted, pair.case.id], names[Condition.original, pair.case.id]
            shown, side = (both, LEFT) if pair.encrypted_left else (both[::-1], RIGHT)
            drawn.append((pair_session, pair.case, shown, {"encrypted_side": side}))
        name, token = f"Reader {number + 1}", secrets.token_urlsafe(_TOKEN_BYTES)
        planned = []
        positions: Counter[int] = Counter()
        for session, case, images, truth in drawn:
            planned.append(PlannedReading(id=secrets.token_hex(_ID_BYTES), session=session, images=images))
            sealed[planned[-1].id] = SealedReading(
                reader=name, session=session, position=positions[session], case=case.id, label=case.label, **truth
            )
            positions[session] += 1
        readers.append(StudyReader(name=name, token_sha256=token_digest(token), readings=tuple(planned)))
        links.append((name, f"/r/{token}"))
    return tuple(readers), sealed, tuple(links)
