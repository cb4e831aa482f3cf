# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The CSV tables in which people name cases, images and classes, and the names in them that become file names."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from monai_advenc.errors import DatasetError

LABEL_TABLE = "labels.csv"

_NOT_IN_FILE_NAMES = re.compile(r"[\\/\x00-\x1f]")
"""Separators of the common file systems, and what would break a line of a table or a log."""

_LONGEST_NAME = 255 - len(".mask.png")
"""In bytes: what most file systems take, less the longest of the endings that files get."""


def read_table(table: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read the given columns of a CSV table with a header row.

    Args:
        table: CSV in UTF-8, with or without byte order mark. Columns are separated by commas, or by semicolons as
            spreadsheets write them where the comma is in numbers; capitals in their names do not count.
        columns: Columns it must have; further ones are left out.

    Returns:
        One dictionary for each row that is not empty; surrounding blanks are removed, missing cells are empty.

    Raises:
        DatasetError: It cannot be read, or lacks a column.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            names_by = {mark: _names(file, mark) for mark in ",;"}
            separator = next((mark for mark, names in names_by.items() if set(columns) <= set(names)), ",")
            present = names_by[separator]
            reader = csv.DictReader(file, delimiter=separator)
            if not set(columns) <= set(present):
                found = ", ".join(present) or "none"
                raise DatasetError(f"{table} needs the columns {', '.join(columns)}; it has {found}")
            next(reader.reader, None)
            reader.fieldnames = present
            rows = [{name: (row[name] or "").strip() for name in columns} for row in reader]
            return [row for row in rows if any(row.values())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"cannot read the table {table} ({error}); expected CSV in UTF-8") from None


def _names(file: TextIO, separator: str) -> list[str]:
    """The names of the columns, if they are separated so; the file stays at its beginning."""
    names = next(csv.reader(file, delimiter=separator), [])
    file.seek(0)
    return [name.strip().lower() for name in names]


def require_file_name(kind: str, name: str, path: Path) -> None:
    """Refuse a name that would not do as the name of a file or folder.

    Args:
        kind: What is named, for the message.
        name: The name.
        path: The image it belongs to, for the message.

    Raises:
        DatasetError: The name is empty, hidden, too long, or holds a separator or a control character.
    """
    # A name that the file system holds in another encoding comes as lone surrogates.
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
    """Refuse classes that people take for one: where they differ in capitals, blanks around them or forms of Unicode.

    Args:
        names: Their names, each once.

    Raises:
        DatasetError: There are two such classes; many file systems, too, take their folders for one.
    """
    spelled: dict[str, str] = {}
    for name in sorted(names):
        other = spelled.setdefault(unicodedata.normalize("NFKC", name).strip().casefold(), name)
        if other != name:
            raise DatasetError(
                f"the classes {other!r} and {name!r} look like one; give both one name, or different ones"
            )


def is_file(path: Path) -> bool:
    """Whether a path that a table names is a file: what is too long for a file system is none, and no error."""
    try:
        return path.is_file()
    except OSError:
        return False
