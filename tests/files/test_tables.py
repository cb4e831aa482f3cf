"""Tables as people bring them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from monai_advenc.errors import DatasetError
from monai_advenc.files.tables import read_table

CELLS = st.text(st.sampled_from([*"a7 ,;\t\"'\n", "\u00fc", "\u0308", "\u6f22"]), min_size=1).map(str.strip)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELLS, CELLS).filter(any), max_size=4),
    separator=st.sampled_from(",;\t"),
    line_end=st.sampled_from(["\n", "\r\n"]),
    told=st.booleans(),
    mark=st.booleans(),
    invisible=st.sampled_from(["", "\u200b", "\u00a0"]),
    names=st.sampled_from([("case", "label"), ("Case", "LABEL "), ("\u200bcase", "label")]),
)
def test_a_table_reads_the_same_however_a_spreadsheet_writes_it(
    tmp_path: Path,
    rows: list[tuple[str, str]],
    separator: str,
    line_end: str,
    told: bool,
    mark: bool,
    invisible: str,
    names: tuple[str, str],
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=line_end)
    writer.writerow([*names, "note"])
    writer.writerows((f"{invisible}{case}{invisible}", label, "x") for case, label in rows)
    head = f"sep={separator}{line_end}" if told else ""
    (tmp_path / "t.csv").write_bytes((("\ufeff" if mark else "") + head + text.getvalue()).encode())
    assert read_table(tmp_path / "t.csv", ("case", "label")) == [{"case": case, "label": label} for case, label in rows]


def refuse(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DatasetError, match=message) as error:
        read_table(tmp_path / "t.csv", ("case", "label"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("header", ["case,label,label", "case;label;Label ", "label\tcase\t\u200blabel"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, header: str) -> None:
    refuse(tmp_path, f"{header}\np1,x,y\n", "has 2 columns 'label'; expected one: keep the right one")


def test_a_column_that_is_not_needed_may_be_there_twice(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("case,label,note,note\np1,x,,\n")
    assert read_table(tmp_path / "t.csv", ("case", "label")) == [{"case": "p1", "label": "x"}]


def test_a_separator_that_the_first_line_promises_is_the_one_that_counts(tmp_path: Path) -> None:
    refuse(tmp_path, "sep=|\ncase,label\np1,x\n", "expected the columns case, label in .*, got case,label; add them")
