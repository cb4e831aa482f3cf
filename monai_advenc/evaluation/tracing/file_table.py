# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write which leaked file is of which original, and how well each recipient's key fits it, as a table for people."""

from __future__ import annotations

from monai_advenc.evaluation.tracing.result import Trace
from monai_advenc.files.names import writable
from monai_advenc.files.tables import csv_text


def file_table(trace: Trace) -> str:
    """Format a CSV table: ``file``, ``original``, ``note`` and a column ``score of <recipient>`` each.

    The first rows are files that fit a recipient best. A score is of one file alone: no recipient is accused by it.
    Where a file's name is not valid text, its bad bytes are replaced by U+FFFD.
    """
    recipients = [each.recipient for each in trace.suspects]
    rows = [
        (
            each.name,
            each.original,
            each.problem,
            *(f"{each.scores[recipient]:.2f}" if each.scores else None for recipient in recipients),
        )
        for each in sorted(trace.files, key=lambda each: (-max(each.scores.values(), default=-1e9), each.name))
    ]
    columns = ("file", "original", "note", *(f"score of {recipient}" for recipient in recipients))
    return writable(csv_text(columns, rows))
