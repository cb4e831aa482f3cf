"""Names from tables, folders and DICOM, in every Unicode form, with what web pages and spreadsheets add."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from monai_advenc.errors import DatasetError
from monai_advenc.files.names import comparable, find_path, folded, in_short, matches, require_distinct_ids, trimmed

WITHOUT_WIDTH = ["\u200b", "\u200c", "\u200d", "\u200e", "\u2060", "\ufeff", "\u00ad"]
BLANKS = [" ", "\t", "\u00a0", "\u3000", *WITHOUT_WIDTH]
LETTERS = st.sampled_from([*"aZ09-_ (", "\u00fc", "\u00c5", "\uac00", "\u1ed9", "\u03ac", "\u0416", "\u6f22", "\u00e7"])
NAMES = st.text(LETTERS, min_size=1).map(str.strip).filter(bool)
FORMS = st.sampled_from(["NFC", "NFD"])
ENDS = st.lists(st.sampled_from(BLANKS), max_size=3).map("".join)


@given(name=NAMES, form=FORMS, before=ENDS, after=ENDS, inside=st.sampled_from(WITHOUT_WIDTH), place=st.integers(0, 9))
def test_one_name_is_equal_in_every_form_that_looks_the_same(
    name: str, form: str, before: str, after: str, inside: str, place: int
) -> None:
    typed = unicodedata.normalize(form, name)
    typed = before + typed[:place] + inside + typed[place:] + after
    assert comparable(typed) == unicodedata.normalize("NFC", name)
    assert trimmed(before + name + after) == name


@given(first=NAMES, second=NAMES)
def test_names_that_look_different_stay_different(first: str, second: str) -> None:
    alike = unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", second)
    assert (comparable(first) == comparable(second)) == alike


@given(name=st.text(max_size=12))
def test_comparing_is_stable(name: str) -> None:
    assert comparable(comparable(name)) == comparable(name)
    assert folded(folded(name)) == folded(name)
    assert folded(name) == folded(comparable(name))


@given(name=NAMES, form=FORMS)
def test_names_collide_in_any_case_as_on_the_file_systems_of_mac_and_windows(name: str, form: str) -> None:
    other = unicodedata.normalize(form, name.upper())
    assert folded(name) == folded(other)
    with pytest.raises(DatasetError, match=r"two cases .*rename one"):
        require_distinct_ids("cases", [(name, Path("a")), (other, Path("b"))])


@given(
    name=st.text(st.sampled_from("ab[]?!-.^$\\+(){}|"), min_size=1),
    other=st.text(st.sampled_from("ab[]?!-."), min_size=1),
)
def test_a_name_matches_itself_and_no_other_whatever_signs_it_has(name: str, other: str) -> None:
    assert matches(name, name)
    assert matches(other, name) == (other == name)


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("GTV[1]", {"GTV[1]"}),
        ("GTV1", {"GTV1"}),
        ("lesion?", {"Lesion?"}),
        ("gtv*", {"GTV1", "GTV[1]"}),
        ("*[*", {"GTV[1]"}),
        ("*", {"GTV1", "GTV[1]", "Lesion?", "Lesion2"}),
    ],
)
def test_only_the_star_stands_for_other_characters(pattern: str, chosen: set[str]) -> None:
    assert {name for name in ("GTV1", "GTV[1]", "Lesion?", "Lesion2") if matches(name, pattern)} == chosen


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_file_is_found_by_a_name_that_looks_the_same(tmp_path: Path, form: str) -> None:
    name = unicodedata.normalize(form, "M\u00fcller/\u00e9.png")
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).touch()
    for typed in ("NFC", "NFD"):
        assert find_path(tmp_path, unicodedata.normalize(typed, name)) == tmp_path / name
    assert find_path(tmp_path, "\u200b" + name) == tmp_path / name
    assert find_path(tmp_path, "other/\u00e9.png") == tmp_path / "other/\u00e9.png"
    assert find_path(tmp_path, "x" * 300) == tmp_path / ("x" * 300)
    assert find_path(tmp_path, "a\0b") == tmp_path / "a\0b"


@given(st.lists(st.sampled_from("abcdefg"), max_size=9), st.integers(1, 5))
def test_a_list_in_short_says_how_many_it_leaves_out(names: list[str], most: int) -> None:
    short, _, rest = in_short(names, most).partition(" and ")
    shown = short.split(", ") if short else []
    assert shown == names[:most]
    assert len(shown) + (int(rest.removesuffix(" more")) if rest else 0) == len(names)
