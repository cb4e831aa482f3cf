# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc reader-study status`` and ``score``: how far readers are, and what came of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.reader_study.folders import Sealed, StudyFolder, sealed_folder_of
from monai_advenc.errors import DatasetError

SCORES_NAME, READINGS_NAME, STATISTICS_NAME, REPORT_NAME = (
    "scores.json",
    "readings.csv",
    "statistics.csv",
    "report.html",
)


def status(study: StudyFolder, json: options.Json = False) -> None:
    """How far each reader is, also while the study is served. Opens no answer sheet and looks at no answer."""
    from datetime import datetime

    from monai_advenc.reader_study.serving.answers import read_answers
    from monai_advenc.reader_study.serving.reading_session import progress_of
    from monai_advenc.reader_study.study import ANSWERS_NAME, Study

    output = Output(json)
    loaded = Study.load(study)
    answered = {answer.reading: answer.answered_at for answer in read_answers(study / ANSWERS_NAME)[0]}
    readers = [progress_of(loaded, reader, answered) for reader in loaded.readers]

    def moment(at: float | None) -> str:
        return datetime.fromtimestamp(at).astimezone().isoformat(" ", "minutes") if at is not None else ""

    rows = [
        (each.reader, *(f"{done} of {total}" for done, total in each.sessions), moment(each.last_answer))
        for each in readers
    ]
    output.table(loaded.title, ("reader", *loaded.session_names, "last answer"), rows)
    output.result({"simulated": loaded.simulated, "readers": [asdict(each) for each in readers]})


def score(
    study: StudyFolder,
    sealed: Sealed = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the result.", show_default="<study>-result", file_okay=False),
    ] = None,
    json: options.Json = False,
) -> None:
    """Open the answer sheet and score the study: report.html, statistics.csv, readings.csv, scores.json.

    The margin and the level were fixed by build. Scoring an unfinished study says so.
    """
    from monai_advenc.data.private_folder import make_private, require_own_folder
    from monai_advenc.files.atomic import write_atomically, write_json
    from monai_advenc.reader_study.scoring.opened_readings import open_readings
    from monai_advenc.reader_study.scoring.score_report import render_score_report
    from monai_advenc.reader_study.scoring.score_tables import readings_table, statistics_table
    from monai_advenc.reader_study.scoring.scoring import score_study
    from monai_advenc.reader_study.serving.answers import read_answers
    from monai_advenc.reader_study.study import ANSWERS_NAME, SHEET_NAME, AnswerSheet, Study

    output = Output(json)
    target = out or study.absolute().parent / f"{study.absolute().name}-result"
    require_own_folder(target, study, SCORES_NAME, "results of a study")
    loaded = Study.load(study)
    sheet = AnswerSheet.load((sealed or sealed_folder_of(study)) / SHEET_NAME, loaded)
    answers, events = read_answers(study / ANSWERS_NAME)
    if not answers:
        raise DatasetError(f"there are no answers yet in {study / ANSWERS_NAME}; serve the study first")
    readings = open_readings(loaded, sheet, answers, events)
    scores = score_study(loaded, readings)
    make_private(target)
    write_json(
        target / SCORES_NAME,
        {"title": loaded.title, "fingerprint": loaded.sheet_sha256, **scores.as_dict()},
        overwrite=True,
        mode=0o600,
    )
    write_atomically(target / READINGS_NAME, readings_table(loaded, readings).encode(), overwrite=True, mode=0o600)
    write_atomically(target / STATISTICS_NAME, statistics_table(scores).encode(), overwrite=True)
    write_atomically(target / REPORT_NAME, render_score_report(loaded, scores).encode(), overwrite=True)
    if scores.simulated:
        output.say("Simulated readers: nothing here is evidence about people.")
    for warning in scores.warnings:
        output.say(warning)
    rows = [
        (
            each.reader,
            f"{each.difference:+.1%}",
            "{:+.1%} to {:+.1%}".format(*each.interval),
            "shown" if each.non_inferior else "not shown",
        )
        for each in scores.comparisons
    ]
    columns = ("reader", "encrypted - original", f"{1 - 2 * loaded.plan.alpha:.0%} interval", "no worse")
    output.table(f"Accuracy (margin {loaded.plan.margin:.1%})", columns, rows)
    output.say(f"Now open {target / REPORT_NAME} in a browser.")
    output.result({"out": str(target), "report": str(target / REPORT_NAME), **scores.as_dict()})
