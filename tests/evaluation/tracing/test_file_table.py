"""The table and the page of a trace, whatever the leaked files are named."""

from __future__ import annotations

import csv
import io
import os

import pytest

from monai_advenc.evaluation.tracing.file_table import file_table
from monai_advenc.evaluation.tracing.page import trace_page
from monai_advenc.evaluation.tracing.result import Standing, Trace, TracedFile
from monai_advenc.evaluation.tracing.significance import Suspect
from monai_advenc.evaluation.tracing.statistic import FILES


def trace_of(*files: TracedFile) -> Trace:
    return Trace(
        statistic=FILES,
        leak="a leaked image",
        suspects=(Suspect(recipient="A", score=-1.5, p_value=0.5, bound=0.5, corrected=0.5, accused=False),),
        decoys=1000,
        level=0.001,
        standing=Standing(("none was made",)),
        facts=tuple(("Not readable", each.name) for each in files),
        limits=(),
        counts={},
        files=files,
    )


def rows_of(trace: Trace) -> list[list[str]]:
    return list(csv.reader(io.StringIO(file_table(trace), newline="")))[1:]


def test_names_that_are_no_text_are_readable_in_the_table_and_on_the_page() -> None:
    name = os.fsdecode(b"bad\xff.png")
    trace = trace_of(TracedFile(name=name, original=name, problem=f"{name} is damaged", scores={"A": -1.5}))
    assert rows_of(trace) == [["bad\ufffd.png", "bad\ufffd.png", "bad\ufffd.png is damaged", "-1.50"]]
    assert file_table(trace).encode()
    assert "bad\ufffd.png" in trace_page(trace).encode().decode()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_spreadsheet_calculates_a_name_and_scores_stay_numbers(start: str) -> None:
    name = f"{start}HYPERLINK(1).png"
    trace = trace_of(
        TracedFile(name=name, original=name, problem=name, scores={"A": -1.5}),
        TracedFile(name=f"a{name}", original=None, problem=None, scores={}),
    )
    assert rows_of(trace) == [[f"'{name}"] * 3 + ["-1.50", "1"], [f"a{name}", "", "", "", ""]]


def test_a_name_with_a_carriage_return_begins_no_row() -> None:
    trace = trace_of(TracedFile(name="a\r1.png", original=None, problem=None, scores={}))
    assert rows_of(trace) == [["a\r1.png", "", "", ""]]
