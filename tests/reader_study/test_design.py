from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from monai_advenc.errors import SettingsError
from monai_advenc.reader_study.building.design import (
    Case,
    Condition,
    Design,
    draw_cases,
    draw_side_pairs,
    draw_viewings,
)

CASE_LISTS = st.lists(st.sampled_from("abc"), min_size=1, max_size=40).map(
    lambda labels: [Case(f"case-{number}", label) for number, label in enumerate(labels)]
)
SEEDS = st.integers(0, 2**63 - 1)
CASES = [Case(f"case-{number}", "ab"[number % 2]) for number in range(12)]


def first_conditions(cases: list[Case], reader: int, seed: int) -> dict[str, Condition]:
    viewings = draw_viewings(cases, Design.crossover, reader, seed)
    return {viewing.case.id: viewing.condition for viewing in viewings if viewing.session == 0}


@given(CASE_LISTS, st.integers(0, 9), SEEDS, st.sampled_from(Design))
def test_each_reader_sees_each_case_once_a_session_and_once_in_each_condition(
    cases: list[Case], reader: int, seed: int, design: Design
) -> None:
    viewings = draw_viewings(cases, design, reader, seed)
    seen = Counter((viewing.session, viewing.case.id) for viewing in viewings)
    assert seen == {(session, case.id): 1 for session in (0, 1) for case in cases}
    assert len({(viewing.case.id, viewing.condition) for viewing in viewings}) == 2 * len(cases)


@given(CASE_LISTS, st.integers(0, 9), SEEDS)
def test_half_of_each_session_and_of_each_class_is_encrypted(cases: list[Case], reader: int, seed: int) -> None:
    first = first_conditions(cases, reader, seed)
    encrypted = [case for case in cases if first[case.id] is Condition.encrypted]
    assert abs(2 * len(encrypted) - len(cases)) <= 1
    for label in {case.label for case in cases}:
        of_class = sum(case.label == label for case in cases)
        assert abs(2 * sum(case.label == label for case in encrypted) - of_class) <= 1


@given(CASE_LISTS, SEEDS)
def test_two_successive_readers_get_opposite_halves(cases: list[Case], seed: int) -> None:
    one, other = (first_conditions(cases, reader, seed) for reader in (2, 3))
    assert all(one[case.id] is other[case.id].other for case in cases)


def test_the_same_seed_gives_the_same_order_and_another_reader_another() -> None:
    drawn = [draw_viewings(CASES, Design.crossover, reader, seed) for reader, seed in ((0, 1), (0, 1), (1, 1), (0, 2))]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert drawn[0] != drawn[3]


def test_each_reader_has_an_order_of_their_own() -> None:
    orders = [
        tuple(viewing.case.id for viewing in draw_viewings(CASES, design, reader, 1) if viewing.session == 0)
        for reader in range(4)
        for design in Design
    ]
    assert len(set(orders)) == 4


def test_the_order_of_a_session_does_not_follow_that_of_the_one_before() -> None:
    viewings = draw_viewings(CASES, Design.crossover, 0, 1)
    orders = [[viewing.case.id for viewing in viewings if viewing.session == session] for session in (0, 1)]
    assert orders[0] != orders[1]


def test_the_papers_design_shows_all_originals_first() -> None:
    viewings = draw_viewings(CASES, Design.sequential, 0, 1)
    assert [viewing.condition for viewing in viewings] == [Condition.original] * 12 + [Condition.encrypted] * 12


def test_repeats_are_a_third_session_of_which_half_is_encrypted() -> None:
    third = [viewing for viewing in draw_viewings(CASES, Design.crossover, 0, 1, repeats=6) if viewing.session == 2]
    assert len({viewing.case.id for viewing in third}) == 6
    assert sum(viewing.condition is Condition.encrypted for viewing in third) == 3


@given(CASE_LISTS, SEEDS, st.data())
def test_in_pairs_the_encrypted_image_is_as_often_left_as_right(
    cases: list[Case], seed: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(cases)))
    pairs = draw_side_pairs(cases, 0, seed, count)
    assert len({pair.case.id for pair in pairs}) == count
    assert abs(2 * sum(pair.encrypted_left for pair in pairs) - count) <= 1


@given(CASE_LISTS, SEEDS, st.data())
def test_a_part_of_the_cases_has_every_class_in_its_share(cases: list[Case], seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(cases)))
    drawn = draw_cases(cases, count, seed)
    assert len(set(drawn)) == count
    for label in {case.label for case in cases}:
        share = count * sum(case.label == label for case in cases) / len(cases)
        assert abs(sum(case.label == label for case in drawn) - share) <= 1


def test_more_repeats_pairs_or_cases_than_there_are_is_refused() -> None:
    with pytest.raises(SettingsError, match="0 to 12 repeats"):
        draw_viewings(CASES, Design.crossover, 0, 1, repeats=13)
    with pytest.raises(SettingsError, match="0 to 12 pairs"):
        draw_side_pairs(CASES, 0, 1, 13)
    with pytest.raises(SettingsError, match="1 to 12 cases"):
        draw_cases(CASES, 0, 1)
