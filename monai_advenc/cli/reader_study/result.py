# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc reader-study status`` and ``score``: the progress of readers, and the result."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.options.study import Sealed, StudyFolder


def status(study: StudyFolder, json: options.Json = False) -> None:
    """Show the progress of each reader, also while the study is served, without opening the answer sheet or answers."""
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

    build fixed the margin and the level. The score of an unfinished study is marked as such.
    """
    from monai_advenc.reader_study.scoring.score_folder import score_folder

    output = Output(json)
    scored = score_folder(study, sealed=sealed, out=out)
    scores, plan = scored.scores, scored.study.plan
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
    columns = ("reader", "encrypted - original", f"{1 - 2 * plan.alpha:.0%} interval", "no worse")
    output.table(f"Accuracy (margin {plan.margin:.1%})", columns, rows)
    output.say(f"Now open {scored.report} in a browser.")
    output.result({"out": str(scored.out), "report": str(scored.report), **scores.as_dict()})
