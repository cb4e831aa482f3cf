# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write the result as CSV tables: every reading with its truth, every statistic with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone

from monai_advenc.files.tables import csv_text
from monai_advenc.reader_study.questions import ENCRYPTED_SIDE, READING_COLUMNS, SCORED_COLUMNS
from monai_advenc.reader_study.scoring.opened_readings import Reading
from monai_advenc.reader_study.scoring.scores import Rate, Scores
from monai_advenc.reader_study.statistics.agreement import Agreement
from monai_advenc.reader_study.study import Study

Row = Sequence[object]


def readings_table(study: Study, readings: Sequence[Reading]) -> str:
    """CSV with one row per reading: truth, answers, time."""
    asked = [question.name for question in study.questions]
    rows = []
    for each in readings:
        truth, answer = each.truth, each.answer
        rows.append(
            (
                truth.reader,
                truth.session + 1,
                truth.position + 1,
                truth.case,
                truth.label,
                truth.condition and truth.condition.value,
                truth.encrypted_side,
                *(answer.answers.get(name) for name in asked),
                answer.answers.get(ENCRYPTED_SIDE),
                int(each.right),
                f"{answer.client_seconds:.2f}",
                None if each.server_seconds is None else f"{each.server_seconds:.2f}",
                datetime.fromtimestamp(answer.answered_at, timezone.utc).isoformat(timespec="seconds"),
                int(each.simulated),
            )
        )
    return _csv((*READING_COLUMNS, *asked, *SCORED_COLUMNS), rows)


def statistics_table(scores: Scores) -> str:
    """CSV with one row per statistic: name, reader, subject, value, interval, p, number, whether simulated."""
    rows = [_accuracy("accuracy", rate, None) for rate in scores.rates]
    for each in scores.comparisons:
        total = each.cells.total
        shares = zip(asdict(each.cells), each.cells.shares, strict=True)
        rows += [("share", each.reader, name, value, None, None, None, total) for name, value in shares]
        difference = (each.difference, *each.interval, each.non_inferiority_p, total)
        rows.append(("difference", each.reader, "encrypted - original", *difference))
        if each.mcnemar_p is not None:
            rows.append(("mcnemar", each.reader, "exact", None, None, None, each.mcnemar_p, total))
        rows.append(_kappa(each.reader, "original and encrypted", each.agreement))
    rows += [_kappa(each.who, each.what, each.agreement) for each in (*scores.agreements, *scores.repeats)]
    for time in scores.times:
        for what, value in (("original", time.original_median), ("encrypted", time.encrypted_median)):
            rows.append(("median_seconds", time.reader, what, value, None, None, time.p, None))
    rows += [_accuracy("found_encrypted", rate, p) for rate, p in scores.choices]
    columns = ("statistic", "reader", "of", "value", "low", "high", "p", "n", "simulated")
    return _csv(columns, [(*row, int(scores.simulated)) for row in rows])


def _accuracy(name: str, rate: Rate, p: float | None) -> Row:
    return name, rate.reader, rate.condition, rate.value, *rate.interval, p, rate.total


def _kappa(reader: str, what: str, agreement: Agreement) -> Row:
    interval = agreement.interval or (None, None)
    return "kappa", reader, what, agreement.kappa, *interval, None, agreement.cases


def _csv(columns: Row, rows: Iterable[Row]) -> str:
    return csv_text(columns, ([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows))
