"""Names are found however they are spelled, and innocent words are left alone."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, strategies as st

from monai_advenc.data.dicom.identity.spelling import compact, passages, spellings, taken_apart, words_of

SAME = [
    ("Müller", "MULLER"),
    ("Müller", "Mueller"),
    ("Strauß", "Strauss"),
    ("Sørensen", "Sorensen"),
    ("Łukasz", "lukasz"),
    ("Đặng", "dang"),
    ("Ｌｉ", "li"),  # Letters as wide as ideographs.
    ("İnci", "inci"),
    ("ﾔﾏﾀﾞ", "ヤマダ"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_the_same_name_has_a_spelling_in_common(one: str, other: str, form: str) -> None:
    decomposed = unicodedata.normalize(form, one)  # type: ignore[arg-type]  # One of the four.
    assert spellings(decomposed) & spellings(other)


def test_vowel_signs_and_voicing_are_no_accents() -> None:
    assert not spellings("が") & spellings("か")
    assert not spellings("कि") & spellings("का")


@given(st.text())
def test_a_spelling_has_no_other_than_itself(text: str) -> None:
    (plain, *_) = sorted(spellings(text), key=len)
    assert plain in spellings(plain)
    assert compact(compact(plain)) == compact(plain) == "".join(words_of(plain))


def test_words_are_whole_numbers_without_zeros_and_runs_over_separators() -> None:
    (passage,) = passages("a-77_123 of 0042 王head")
    for word in ("a", "77", "123", "0042", "42", "王", "head", "a77123", "of0042"):
        assert passage.has_word(word), word
    for word in ("7", "7123", "7712", "77123o", "hea", "a77", "4", ""):
        assert not passage.has_word(word), word


def test_letters_and_digits_and_humps_come_apart() -> None:
    assert taken_apart("LiWu12") == "Li Wu 12"
    assert taken_apart("p123") == "p 123"
    assert taken_apart("CASE_1") == "CASE_1"
