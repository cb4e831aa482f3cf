"""Days are found in all common writings, and other numbers are left alone."""

from __future__ import annotations

import pytest

from monai_advenc.data.dicom.identity.days import is_day, writings_of

WRITTEN = [
    *("19700131", "1970-01-31", "1970_1_31", "1970.01.31", "31.01.1970", "31-1-1970", "01/31/1970", "31011970"),
    *("31jan1970", "31. januar 1970", "january 31, 1970", "1970-jan-31", "1970年1月31日", "scan19700131120000"),
]

SHORT = ["700131", "310170", "31.1.70", "1/31/70", "70-01-31", "31jan70"]

OTHERS = ["19700130", "1970", "1970-01", "case-31-1", "11970-01-310", "1.31.1971", "31.1.170", "3101970", "jan 1970"]


@pytest.mark.parametrize("text", WRITTEN)
def test_a_day_is_found_however_it_is_written(text: str) -> None:
    for short_years in (False, True):
        assert writings_of("19700131", short_years=short_years).search(f"mr_{text}_x")


@pytest.mark.parametrize("text", SHORT)
def test_years_of_two_digits_count_where_asked_for(text: str) -> None:
    assert writings_of("19700131", short_years=True).search(f"mr_{text}_x")
    assert not writings_of("19700131", short_years=False).search(f"mr_{text}_x")


@pytest.mark.parametrize("text", OTHERS)
def test_other_numbers_are_no_day(text: str) -> None:
    assert not writings_of("19700131", short_years=True).search(text)


def test_only_whole_days_are_days() -> None:
    assert is_day("19700131")
    assert not any(map(is_day, ("", "1970", "19701301", "19700132", "1970-1-31", "0" * 8)))
