# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Score the folder of a study, or let simulated readers answer it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monai_advenc.data.private_folder import make_private, require_own_folder
from monai_advenc.errors import DatasetError
from monai_advenc.files.atomic import write_atomically, write_json
from monai_advenc.files.folder_lock import FolderLock
from monai_advenc.progress import ConsoleProgress, Progress
from monai_advenc.reader_study.building.from_folders import sealed_folder_of
from monai_advenc.reader_study.scoring.opened_readings import open_readings
from monai_advenc.reader_study.scoring.score_report import render_score_report
from monai_advenc.reader_study.scoring.score_tables import readings_table, statistics_table
from monai_advenc.reader_study.scoring.scores import Scores
from monai_advenc.reader_study.scoring.scoring import score_study
from monai_advenc.reader_study.scoring.simulated_reader import Habits, require_trial, simulate_readers
from monai_advenc.reader_study.serving.answers import AnswerDatabase, read_answers
from monai_advenc.reader_study.study import ANSWERS_NAME, SHEET_NAME, AnswerSheet, Study

SCORES_NAME = "scores.json"
READINGS_NAME = "readings.csv"
STATISTICS_NAME = "statistics.csv"
REPORT_NAME = "report.html"


@dataclass(frozen=True)
class ScoredStudy:
    """A study that was scored.

    Attributes:
        out: Folder of ``report.html``, ``statistics.csv``, ``readings.csv`` and ``scores.json``.
        study: The study.
        scores: What came of it.
    """

    out: Path
    study: Study
    scores: Scores

    @property
    def report(self) -> Path:
        """The page."""
        return self.out / REPORT_NAME


def score_folder(study: str | Path, *, sealed: str | Path | None = None, out: str | Path | None = None) -> ScoredStudy:
    """Open the answer sheet of a study, score it, and write tables and a report.

    Args:
        study: The folder that was served.
        sealed: The folder of the answer sheet; ``None``: ``<study>-sealed``.
        out: Folder for the result; ``None``: ``<study>-result``.

    Raises:
        DatasetError: There is no study, no sheet of it, or no answer yet.
        OutputError: ``out`` holds something else.
    """
    folder = Path(study)
    target = folder.absolute().parent / f"{folder.absolute().name}-result" if out is None else Path(out)
    require_own_folder(target, folder, SCORES_NAME, "results of a study")
    loaded = Study.load(folder)
    sheet = _open_sheet(loaded, folder, sealed)
    answers, events = read_answers(folder / ANSWERS_NAME)
    if not answers:
        raise DatasetError(f"there are no answers yet in {folder / ANSWERS_NAME}; serve the study first")
    readings = open_readings(loaded, sheet, answers, events)
    scores = score_study(loaded, readings)
    make_private(target)
    named = {"title": loaded.title, "fingerprint": loaded.sheet_sha256, **scores.as_dict()}
    write_json(target / SCORES_NAME, named, overwrite=True, mode=0o600)
    write_atomically(target / READINGS_NAME, readings_table(loaded, readings).encode(), overwrite=True, mode=0o600)
    write_atomically(target / STATISTICS_NAME, statistics_table(scores).encode(), overwrite=True)
    write_atomically(target / REPORT_NAME, render_score_report(loaded, scores).encode(), overwrite=True)
    return ScoredStudy(target, loaded, scores)


def simulate_folder(
    study: str | Path,
    habits: Habits,
    *,
    sealed: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> int:
    """Let simulated readers answer a trial study, and return the number of answers.

    Args:
        study: The folder of the study.
        habits: How accurate the readers are.
        sealed: The folder of the answer sheet; ``None``: ``<study>-sealed``.
        seed: Decides the answers.
        progress: Where to say how far it is; ``None``: on stderr.

    Raises:
        DatasetError: There is no study, or no sheet of it.
        OutputError: The study is served at the moment, or the disk refuses.
        SettingsError: The study is not a trial run.
    """
    folder = Path(study)
    loaded = Study.load(folder)
    require_trial(loaded)
    sheet = _open_sheet(loaded, folder, sealed)
    total = sum(len(reader.readings) for reader in loaded.readers)
    stage = (progress or ConsoleProgress()).stage("simulated answers", total)
    with FolderLock(folder), AnswerDatabase(folder / ANSWERS_NAME) as database, stage as advance:
        return simulate_readers(loaded, sheet, database, habits, seed, progress=advance)


def _open_sheet(study: Study, folder: Path, sealed: str | Path | None) -> AnswerSheet:
    return AnswerSheet.load((sealed_folder_of(folder) if sealed is None else Path(sealed)) / SHEET_NAME, study)
