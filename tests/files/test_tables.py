"""Tables as people bring them."""

from __future__ import annotations

import csv
import io
import unicodedata
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from monai_advenc.errors import DatasetError
from monai_advenc.files.names import trimmed
from monai_advenc.files.tables import csv_text, read_table

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


INVISIBLE = ["\u200b", "\ufeff", "\u2060", "\u061c", "\x01"]
FOREIGN = st.text(
    st.sampled_from([*"=+-@'\t\n\r,;\"a1.e", "\uff1d", "\uff20", "\u00fc", *INVISIBLE]), min_size=1, max_size=6
)
SHOWN_AS_NOTHING = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u2065\u2800\u3164\ufe00\ufe0f\uffa0\ufff0\U000e0100\U000e0fff"
)
BLANKS = SHOWN_AS_NOTHING + "".join(
    each for each in map(chr, range(0x110000)) if each.isspace() or unicodedata.category(each) in {"Cc", "Cf"}
)
SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(FOREIGN.map(trimmed).filter(bool), min_size=1, max_size=3), number=st.floats())
@example(
    names=[
        "'-1",
        "-1",
        "''=",
        "a;=b",
        "a;'=b",
        'a;""=b',
        "a\n=b",
        "a\t@b",
        "a;=b\r'+c;-1",
        "a; =b",
        "' =b",
        "a;\u200b=b",
        "'\ufeff-1",
    ],
    number=-1.5,
)
def test_written_names_are_calculated_by_no_spreadsheet_and_read_back_as_they_were(
    tmp_path: Path, names: list[str], number: float
) -> None:
    text = csv_text(("case", "area", "text", "again"), [(name, number, f"{number:.6g}", name) for name in names])
    (tmp_path / "t.csv").write_text(text, newline="")
    read = read_table(tmp_path / "t.csv", ("case", "again"))
    assert read == [{"case": name, "again": name} for name in names]
    for row, given_name in zip(list(csv.reader(io.StringIO(text, newline="")))[1:], names, strict=True):
        assert row[0].replace("'", "") == given_name.replace("'", "")
        assert row[0][0] not in SIGNS + "\t\n\r"
        assert row[1:3] == [repr(number), f"{number:.6g}"]
        assert row[3] == (given_name if is_number(given_name) else row[0])
    for separator in ";\t":  # As spreadsheets in many countries split every table, also within quotes.
        for cell in (cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) for cell in row):
            assert cell.lstrip(BLANKS)[:1] not in [*SIGNS], "blanks and invisible characters in front may be dropped"


@given(cell=st.text(st.sampled_from([*"'=-\n;a", "\uff1d"]), min_size=1, max_size=5).map(str.strip).filter(bool))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(cell="'-1")
@example(cell="'=a;'=b")
def test_apostrophes_in_a_table_that_people_wrote_stay(tmp_path: Path, cell: str) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([("case", "label"), (cell, "x")])
    (tmp_path / "t.csv").write_text(text.getvalue(), newline="")
    assert read_table(tmp_path / "t.csv", ("case", "label")) == [{"case": cell, "label": "x"}]


def test_a_formula_behind_blanks_is_none_either(tmp_path: Path) -> None:
    text = csv_text(("case", "label"), [("a", " =1+1"), ("b", "\u3000@x"), ("c", "d -e")])
    assert text == "case,label,apostrophes_added\na,' =1+1,1\nb,'\u3000@x,1\nc,d -e,\n"
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    # Readers trim every cell.
    assert [row["label"] for row in read_table(tmp_path / "t.csv", ("label",))] == ["=1+1", "@x", "d -e"]


def test_a_formula_behind_any_invisible_character_is_none_either(tmp_path: Path) -> None:
    formats = [each for each in BLANKS if not each.isspace() and each != "\0"]  # Python 3.10 reads no table with NUL.
    assert len(formats) > 150
    texts = [f"{each}{sign}1+1" for each, sign in zip(formats, cycle(SIGNS), strict=False)]
    text = csv_text(("case", "label"), [(each, f"a;{each}") for each in texts])
    (tmp_path / "t.csv").write_text(text, encoding="utf-8", newline="")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[1:] == [[f"'{each}", f"a;'{each}", "1"] for each in texts]
    read = read_table(tmp_path / "t.csv", ("case", "label"))
    assert read == [{"case": trimmed(each), "label": f"a;{each}"} for each in texts], "readers trim every cell"


@pytest.mark.parametrize("blank", ["\x1f", "\x85", "\u200b", "\u2028", "\u3164", "'", " "])
def test_many_blanks_in_front_take_no_time(blank: str) -> None:
    text = csv_text(("case",), [(f"{blank * 100_000}a",)])
    assert text == f"case\n{blank * 100_000}a\n"


def test_a_row_that_people_add_to_a_written_table_stays_as_it_is(tmp_path: Path) -> None:
    text = csv_text(("case", "label"), [("-a", "x"), ("b", "y")])
    assert text == "case,label,apostrophes_added\n'-a,x,1\nb,y,\n"
    (tmp_path / "t.csv").write_text(f"{text}'-c,z\n")
    assert [row["case"] for row in read_table(tmp_path / "t.csv", ("case",))] == ["-a", "b", "'-c"]


def is_number(text: str) -> bool:
    """Whether a spreadsheet takes it for a number, not for a formula that begins with a sign."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_a_carriage_return_in_a_name_begins_no_row() -> None:
    assert csv_text(("a", "b"), [("x\r1", 2)]) == 'a,b\n"x\r1",2\n'
    assert csv_text(("a",), [("x\r=1",)]) == 'a,apostrophes_added\n"x\r\'=1",1\n'


def test_tables_without_such_text_have_the_bytes_of_before() -> None:
    rows = [("p-1", -1.5, None, 'a "b", c'), ("p'1", 0, True, "x\ny"), ("a=b", 7, "-2.5e-07", "")]
    expected = io.StringIO()
    csv.writer(expected, lineterminator="\n").writerows([("a", "b", "c", "d"), *rows])
    assert csv_text(("a", "b", "c", "d"), rows) == expected.getvalue()
