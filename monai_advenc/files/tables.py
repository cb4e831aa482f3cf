# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read and write CSV tables of cases, images and classes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from monai_advenc.errors import DatasetError
from monai_advenc.files.names import folded, trimmed

LABEL_TABLE = "labels.csv"

_SEPARATORS = ",;\t"

_SEPARATOR_LINE = re.compile(r"\ufeff?\"?sep=(.)\"?,*", re.IGNORECASE)
"""First line by which Excel tells itself the separator."""

GUARDED: Final = "apostrophes_added"
"""Column of tables that we write: 1 in a row in which apostrophes were added, empty in the others."""

_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20"
"""How formulas begin in Excel or LibreOffice, also in wide forms."""

_INVISIBLE = (
    r"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160"
    r"\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Control and format characters (Unicode's categories Cc and Cf) and others that nothing is shown of (its property
Default_Ignorable_Code_Point, and the empty Braille pattern), without white space: a pattern that two parts of a choice
matched would take forever."""

_BEFORE_SIGN = rf"(?:'|[^\S\t\n\r]|[{_INVISIBLE}])*"
"""Apostrophes may stand in front of a sign already; so may blanks and invisible characters, which spreadsheets may
drop."""

_BEFORE_FORMULA = re.compile(rf"^(?='*[\t\n\r]|{_BEFORE_SIGN}[{_SIGNS}])|(?<=[;\t\n\r])\"*(?={_BEFORE_SIGN}[{_SIGNS}])")
"""Where text may be calculated: a spreadsheet that splits at semicolons or tabs splits quoted cells too, and may drop
quotes in front of a part."""

_ADDED = re.compile(rf"^'(?='*[\t\n\r]|{_BEFORE_SIGN}[{_SIGNS}])|(?<=[;\t\n\r])(\"*)'(?={_BEFORE_SIGN}[{_SIGNS}])")
"""The apostrophe that was added there."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(inf|nan)", re.IGNORECASE)


def read_table(table: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """Read the given columns of a CSV table with a header row.

    Args:
        table: CSV in UTF-8, with or without byte order mark, separated by commas or, as spreadsheets write it, by
            semicolons or tabs; the first line may be Excel's ``sep=``. Column names match in any case.
        columns: Required columns.
        optional: Columns that are read if they are there; others are ignored.

    Returns:
        One dictionary for each row that is not empty, without white space and invisible characters at the ends of its
        cells, nor the apostrophes that :func:`csv_text` added; missing cells are empty.

    Raises:
        DatasetError: The table cannot be read, lacks a column or has one twice.
    """
    try:
        # newline="" leaves line ends within quotes to csv.
        with table.open(newline="", encoding="utf-8-sig") as file:
            text = file.read()
        first, _, rest = text.partition("\n")
        told = _SEPARATOR_LINE.fullmatch(first.strip("\r\ufeff "))
        marks, text = (told[1], rest) if told else (_SEPARATORS, text)
        names_by = {mark: _names(text, mark) for mark in marks}
        separator = next((mark for mark, names in names_by.items() if set(columns) <= set(names)), marks[0])
        present = names_by[separator]
        columns += tuple(name for name in optional if name in present)
        _require_columns(columns, present, table)
        reader = csv.DictReader(io.StringIO(text, newline=""), present, delimiter=separator)
        next(reader.reader, None)
        rows = [{name: trimmed(_unguarded(row[name] or "", row)) for name in columns} for row in reader]
        return [row for row in rows if any(row.values())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"cannot read the table {table} ({error}); expected CSV in UTF-8") from None


def columns_of(table: Path) -> list[str]:
    """The names of a table's columns, in lower case; none if it cannot be read.

    Args:
        table: CSV as :func:`read_table` takes it, without Excel's first line.
    """
    try:
        first = table.read_text(encoding="utf-8-sig").partition("\n")[0]
    except (OSError, UnicodeDecodeError):
        return []
    return max((_names(first, mark) for mark in _SEPARATORS), key=len)


def _names(text: str, separator: str) -> list[str]:
    """The column names of a table with this separator."""
    return [folded(name) for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])]


def _require_columns(columns: tuple[str, ...], present: list[str], table: Path) -> None:
    if not set(columns) <= set(present):
        found = ", ".join(present) or "none"
        raise DatasetError(f"expected the columns {', '.join(columns)} in {table}, got {found}; add them")
    twice = next((name for name in columns if present.count(name) > 1), None)
    if twice is not None:
        raise DatasetError(f"{table} has {present.count(twice)} columns {twice!r}; expected one: keep the right one")


def csv_text(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Format a CSV table with a header row.

    Names may come from others, so text that a spreadsheet would calculate gets an apostrophe in front, also within a
    cell where a spreadsheet may split it. If there is any, a last column :data:`GUARDED` says in which rows, and
    :func:`read_table` removes the apostrophes there. Text that is a number stays one, but for the first column, where
    names are.

    Args:
        columns: The header.
        rows: Cells; ``None`` is an empty one.
    """
    header = [_guarded(name) for name in columns]
    table = [(list(row), _guarded_row(row)) for row in rows]
    if any(guarded != row for row, guarded in table):
        header += [GUARDED]
        table = [(row, [*guarded, 1 if guarded != row else None]) for row, guarded in table]
    return "".join(_line(cells) for cells in (header, *(guarded for _, guarded in table)))


def _line(row: Sequence[object]) -> str:
    buffer, end = io.StringIO(), "\r\n"  # With this end, csv quotes cells with a carriage return too.
    csv.writer(buffer, lineterminator=end).writerow(row)
    return buffer.getvalue().removesuffix(end) + "\n"


def _guarded_row(row: Sequence[object]) -> list[object]:
    # Where a spreadsheet splits at semicolons a row is one cell, and a number in front begins what is calculated.
    return [_guarded(cell, is_first=place == 0) for place, cell in enumerate(row)]


def _guarded(cell: object, *, is_first: bool = False) -> object:
    is_text = isinstance(cell, str) and cell.strip() and (is_first or not _NUMBER.fullmatch(cell))
    return _BEFORE_FORMULA.sub(r"\g<0>'", str(cell)) if is_text else cell


def _unguarded(cell: str, row: Mapping[str, str]) -> str:
    return _ADDED.sub(r"\1", cell) if trimmed(row.get(GUARDED) or "") else cell
