# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Days as people write them: ``19700131``, ``1970-01-31``, ``31.1.1970``, ``1/31/70``, ``31Jan1970``."""

from __future__ import annotations

import re
from itertools import chain

_MONTHS = ("jan", "feb", "mar|maer|mrz", "apr", "may|mai", "jun", "jul", "aug", "sep", "oct|okt", "nov", "dec|dez")
"""How the names of months begin in English and German, without accents."""

_SEPARATOR = r"[\W_年月년월]{1,2}"
_SEPARATOR_OR_NONE = r"[\W_年月년월]{0,2}"


def is_day(text: str) -> bool:
    """Whether a text is a day as DICOM writes it, ``YYYYMMDD``."""
    return re.fullmatch(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", text) is not None


def writings_of(day: str, *, short_years: bool) -> re.Pattern[str]:
    """A pattern for the ways to write a day in a text without case and accents (:func:`spellings`).

    Year, day or month may come first, with or without separators; months may be names, and zeros left out.

    Args:
        day: ``YYYYMMDD``.
        short_years: Whether years of two digits count, as in ``700131``.
    """
    year, month, date = day[:4], day[4:6], day[6:]
    years = f"(?:{year}|{year[2:]})" if short_years else year
    short_month, short_date = (f"0?{int(each)}" for each in (month, date))
    name = f"(?:{_MONTHS[int(month) - 1]})[a-z]*"
    ways = chain(
        ("".join(order) for order in _orders(years, month, date)),
        (_SEPARATOR.join(order) for order in _orders(years, short_month, short_date)),
        (_SEPARATOR_OR_NONE.join(order) for order in _orders(years, name, short_date)),
    )
    # A day may be followed by the time, without a separator.
    return re.compile(rf"{day}|(?<!\d)(?:{'|'.join(ways)})(?!\d)")


def _orders(year: str, month: str, date: str) -> tuple[tuple[str, str, str], ...]:
    return (year, month, date), (date, month, year), (month, date, year)
