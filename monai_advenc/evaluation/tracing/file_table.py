# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write which leaked file is of which original, and how well each recipient's key fits it, as a table for people."""

from __future__ import annotations

from typing import Final

from monai_advenc.evaluation.tracing.result import Trace
from monai_advenc.files.names import writable
from monai_advenc.files.tables import csv_text

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""With which formulas begin in Excel or LibreOffice; the last four are the wide forms of the first."""


def file_table(trace: Trace) -> str:
    """Format a CSV table: ``file``, ``original``, ``note`` and a column ``score of <recipient>`` each.

    The first rows are files that fit a recipient best. A score is of one file alone: no recipient is accused by it.
    Bytes of a file's name that are no text are replaced. Whoever leaked a file has named it, so text that a spreadsheet
    would calculate gets an apostrophe in front.
    """
    recipients = [each.recipient for each in trace.suspects]
    rows = [
        (
            *(_cell(text) for text in (each.name, each.original, each.problem)),
            *(f"{each.scores[recipient]:.2f}" if each.scores else None for recipient in recipients),
        )
        for each in sorted(trace.files, key=lambda each: (-max(each.scores.values(), default=-1e9), each.name))
    ]
    columns = ("file", "original", "note", *(f"score of {recipient}" for recipient in recipients))
    return writable(csv_text(columns, rows))


def _cell(text: str | None) -> str | None:
    # Python's csv does not quote a carriage return, which would begin a row.
    text = text and text.replace("\r", "\ufffd")
    return f"'{text}" if text and text.startswith(_FORMULA_STARTS) else text
