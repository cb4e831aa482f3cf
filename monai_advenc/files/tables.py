# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read CSV tables of cases, images and classes, and check names that become file names."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from monai_advenc.errors import DatasetError

LABEL_TABLE = "labels.csv"

_NOT_IN_FILE_NAMES = re.compile(r"[\\/\x00-\x1f]")
"""Path separators of common file systems, and characters that would break a line of a table or a log."""

_LONGEST_NAME = 255 - len(".mask.png")
"""Longest name in bytes: the limit of most file systems minus the longest file ending."""


def read_table(table: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read the given columns of a CSV table with a header row.

    Args:
        table: CSV in UTF-8, with or without byte order mark, separated by commas or, as spreadsheets with decimal
            commas write it, by semicolons. Column names match in any case.
        columns: Required columns; others are ignored.

    Returns:
        One dictionary for each row that is not empty; surrounding blanks are removed, missing cells are empty.

    Raises:
        DatasetError: The table cannot be read or lacks a column.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            names_by = {mark: _names(file, mark) for mark in ",;"}
            separator = next((mark for mark, names in names_by.items() if set(columns) <= set(names)), ",")
            present = names_by[separator]
            reader = csv.DictReader(file, delimiter=separator)
            if not set(columns) <= set(present):
                found = ", ".join(present) or "none"
                raise DatasetError(f"expected the columns {', '.join(columns)} in {table}, got {found}; add them")
            next(reader.reader, None)
            reader.fieldnames = present
            rows = [{name: (row[name] or "").strip() for name in columns} for row in reader]
            return [row for row in rows if any(row.values())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"cannot read the table {table} ({error}); expected CSV in UTF-8") from None


def _names(file: TextIO, separator: str) -> list[str]:
    """Read the column names for a separator; the file's position does not change."""
    names = next(csv.reader(file, delimiter=separator), [])
    file.seek(0)
    return [name.strip().lower() for name in names]


def csv_text(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Format a CSV table with a header row; ``None`` is an empty cell."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([columns, *rows])
    return buffer.getvalue()


def require_file_name(kind: str, name: str, path: Path) -> None:
    """Check that a name can be the name of a file or folder.

    Args:
        kind: Kind of the name, for the message.
        name: The name.
        path: The image of the name, for the message.

    Raises:
        DatasetError: The name is empty, hidden, too long, or holds a separator or a control character.
    """
    # Python reads a file name in another encoding as lone surrogates.
    is_text = name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)
    if not name or name.startswith(".") or _NOT_IN_FILE_NAMES.search(name) or not is_text:
        raise DatasetError(f"{kind} {name!r} of {path} cannot be a file name; rename it")
    length = len(name.encode())
    if length > _LONGEST_NAME:
        raise DatasetError(
            f"{kind} {name[:20]}... of {path} has a name of {length} bytes, expected {_LONGEST_NAME} at most, to leave "
            "room for endings such as .mask.png and .nii.gz; rename it"
        )


def require_distinct_classes(names: Iterable[str]) -> None:
    """Reject class names that differ only in case, surrounding blanks or Unicode form.

    Args:
        names: The names, each once.

    Raises:
        DatasetError: There are two such classes, whose folders many file systems do not distinguish.
    """
    spelled: dict[str, str] = {}
    for name in sorted(names):
        other = spelled.setdefault(unicodedata.normalize("NFKC", name).strip().casefold(), name)
        if other != name:
            raise DatasetError(
                f"classes {other!r} and {name!r} differ only in case, blanks or Unicode form; rename one"
            )


def is_file(path: Path) -> bool:
    """Whether a path from a table is a file; a path that is too long for the file system is not one."""
    try:
        return path.is_file()
    except OSError:
        return False
