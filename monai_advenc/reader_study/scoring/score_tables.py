# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write the result as CSV tables: every reading with its truth, every statistic with its interval."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from monai_advenc.reader_study.questions import ENCRYPTED_SIDE, READING_COLUMNS, SCORED_COLUMNS
from monai_advenc.reader_study.scoring.opened_readings import Reading
from monai_advenc.reader_study.scoring.scores import Rate, Scores
from monai_advenc.reader_study.statistics.agreement import Agreement
from monai_advenc.reader_study.study import Study

Row = Sequence[object]


def readings_table(study: Study, readings: Sequence[Reading]) -> str:
    """CSV with one row per reading: truth, answers, time."""
    asked = [question.name for question in study.questions]
    columns = (
        *READING_COLUMNS,
        *asked,
        *SCORED_COLUMNS,
    )
    rows = []
    for each in readings:
        truth = each.truth
        server = "" if each.server_seconds is None else f"{each.server_seconds:.2f}"
        rows.append(
            (
                truth.reader,
                truth.session + 1,
                truth.position + 1,
                truth.case,
                truth.label,
                truth.condition.value if truth.condition else "",
                truth.encrypted_side or "",
                *(_plain_text(each.answers.get(name)) for name in asked),
                each.answers.get(ENCRYPTED_SIDE, ""),
                int(each.right),
                f"{each.client_seconds:.2f}",
                server,
                datetime.fromtimestamp(each.answered_at, timezone.utc).isoformat(timespec="seconds"),
                int(each.simulated),
            )
        )
    return _csv(columns, rows)


def _plain_text(answer: object) -> object:
    # A spreadsheet would run a free text that begins like a formula.
    if isinstance(answer, str) and answer[:1] in ("=", "+", "-", "@", "\t"):
        return f"'{answer}"
    return "" if answer is None else answer


def statistics_table(scores: Scores) -> str:
    """CSV with one row per statistic: name, reader, subject, value, interval, p, number, whether simulated."""
    simulated = int(scores.simulated)
    rows: list[Row] = [
        ("accuracy", rate.reader, rate.condition, *_rate(rate), "", rate.total, simulated) for rate in scores.rates
    ]
    for each in scores.comparisons:
        shares = zip(
            ("both_right", "both_wrong", "only_original_right", "only_encrypted_right"), each.cells.shares, strict=True
        )
        rows += [("share", each.reader, name, value, "", "", "", each.cells.total, simulated) for name, value in shares]
        p, total = each.non_inferiority_p, each.cells.total
        difference = (each.difference, *each.interval)
        rows.append(("difference", each.reader, "encrypted - original", *difference, p, total, simulated))
        if each.mcnemar_p is not None:
            rows.append(("mcnemar", each.reader, "exact", "", "", "", each.mcnemar_p, each.cells.total, simulated))
        rows.append(("kappa", each.reader, "original and encrypted", *_kappa(each.agreement), simulated))
    for name, group in (("kappa", scores.agreements), ("kappa", scores.repeats)):
        rows += [(name, each.who, each.what, *_kappa(each.agreement), simulated) for each in group]
    for time in scores.times:
        for what, value in (("original", time.original_median), ("encrypted", time.encrypted_median)):
            shown_p = "" if time.p is None else time.p
            rows.append(("median_seconds", time.reader, what, value, "", "", shown_p, "", simulated))
    rows += [
        ("found_encrypted", rate.reader, rate.condition, *_rate(rate), p, rate.total, simulated)
        for rate, p in scores.choices
    ]
    return _csv(("statistic", "reader", "of", "value", "low", "high", "p", "n", "simulated"), rows)


def _rate(rate: Rate) -> tuple[object, object, object]:
    return rate.value, *rate.interval


def _kappa(agreement: Agreement) -> tuple[object, ...]:
    low, high = agreement.interval or ("", "")
    return "" if agreement.kappa is None else agreement.kappa, low, high, "", agreement.cases


def _csv(columns: Row, rows: Iterable[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    return buffer.getvalue()
