"""Accusations: how often somebody innocent is accused, and that a guilty one can be."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from monai_advenc.errors import SettingsError
from monai_advenc.evaluation.tracing.significance import (
    accusing_share,
    beside_level,
    holm,
    least_decoys,
    p_value,
    suspects,
    upper_bound,
)

FEW_SCORES = st.lists(st.integers(0, 3).map(float), min_size=1, max_size=30)


@given(score=st.integers(0, 3).map(float), decoys=FEW_SCORES)
def test_a_p_value_counts_the_key_itself_and_every_decoy_that_ties(score: float, decoys: list[float]) -> None:
    as_high = sum(decoy >= score for decoy in decoys)
    assert Fraction(p_value(score, np.array(decoys))).limit_denominator(1000) == Fraction(1 + as_high, 1 + len(decoys))


@given(keys=FEW_SCORES.filter(lambda scores: len(scores) > 1), tenths=st.integers(1, 10))
def test_if_any_of_the_keys_is_the_innocent_one_at_most_that_share_gets_so_low_a_p_value(
    keys: list[float], tenths: int
) -> None:
    """Exchangeable scores, ties included: of M + 1 keys, at most a share x has a p value of at most x."""
    scores = np.array(keys)
    values = [p_value(score, np.delete(scores, row)) for row, score in enumerate(scores)]
    assert sum(value <= tenths / 10 + 1e-12 for value in values) <= tenths / 10 * len(keys) + 1e-9


@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=6))
def test_a_corrected_p_value_is_the_largest_of_bonferroni_over_all_groups_with_it(p_values: list[float]) -> None:
    """Holm's correction is the closure of Bonferroni's, which only small numbers of values allow to write out."""
    rows = range(len(p_values))
    groups = [set(group) for size in rows for group in combinations(rows, size + 1)]
    expected = [
        max(min(1, len(own) * min(p_values[row] for row in own)) for own in groups if own >= {each}) for each in rows
    ]
    assert np.allclose(holm(p_values), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("count", [1, 7, 200])
def test_corrected_p_values_are_those_of_statsmodels(count: int) -> None:
    p_values = np.random.default_rng(count).uniform(0, 0.01, count).round(4).tolist()  # Rounded for ties.
    assert np.allclose(holm(p_values), multipletests(p_values, method="holm")[1], rtol=1e-9, atol=0)


def test_p_values_of_the_innocent_are_uniform() -> None:
    draw = np.random.default_rng(0)
    values = [p_value(draw.standard_normal(), draw.standard_normal(999)) for _ in range(500)]
    assert stats.kstest(values, "uniform").pvalue > 0.01


@settings(deadline=None)
@given(recipients=st.integers(1, 60), level=st.sampled_from([1e-3, 0.01, 0.05, 1e-4, 0.007]))
def test_with_the_least_number_of_decoys_the_best_score_just_accuses(recipients: int, level: float) -> None:
    fewest = least_decoys(level, recipients)
    scores = {str(row): float(row == 0) for row in range(recipients)}
    accused = [each.recipient for each in suspects(scores, np.zeros(fewest) + 0.5, level) if each.accused]
    assert accused == ["0"]
    with pytest.raises(SettingsError, match="decoys"):
        suspects(scores, np.zeros(fewest - 1) + 0.5, level)


@settings(deadline=None)
@given(decoys=st.integers(1, 3000), part=st.floats(0, 1))
def test_an_upper_bound_is_that_of_an_exact_binomial_test_and_above_the_p_value(decoys: int, part: float) -> None:
    as_high = round(part * decoys)
    bound = upper_bound(as_high, decoys)
    known = stats.binomtest(as_high, decoys, alternative="less").proportion_ci(0.99, "exact").high
    assert bound == pytest.approx(known, rel=1e-9)
    assert bound > (1 + as_high) / (1 + decoys) or bound == 1 or decoys == 1


@pytest.mark.parametrize(("recipients", "decoys"), [(1, 5_000), (3, 50_000), (20, 100_000), (20, 300_000)])
def test_for_99_of_100_draws_of_decoys_the_innocent_are_accused_at_most_at_the_level_given_the_decoys(
    recipients: int, decoys: int
) -> None:
    """Scores are uniform on (0, 1) without loss: only their order counts. The rate given the decoys is then known."""
    most = max(number for number in range(300) if recipients * upper_bound(number, decoys) <= 1e-3)
    draw = np.random.default_rng(recipients + decoys)
    # An innocent score accuses if it is above the decoy in this place from the top, whose law is a beta law.
    rates = recipients * draw.beta(most + 1, decoys - most, 40_000)
    assert (rates <= 1e-3).mean() > 0.98
    assert (rates > 1e-3).mean() <= 0.01 + 5 * (0.01 / 40_000) ** 0.5
    assert rates.mean() < 1e-3
    # By the p value alone it is above the level for about half of the draws.
    fewer = int(1e-3 / recipients * (1 + decoys))
    assert 0.3 < (recipients * draw.beta(fewer, decoys + 1 - fewer, 40_000) > 1e-3).mean() < 0.6


@pytest.mark.parametrize(("guilty", "decoys"), [(0, 2_500), (2, 2_500), (2, 6_000)])
def test_99_of_100_draws_of_decoys_accuse_innocents_no_more_often_than_the_level(guilty: int, decoys: int) -> None:
    """Whoever took part; by the code that accuses: five recipients at level 0.01."""
    draw, level, innocent = np.random.default_rng(guilty + decoys), 0.01, 5 - guilty
    took_part = {str(row): 2.0 for row in range(guilty)}
    against = np.sort(draw.random(decoys))

    def accuses(place: int) -> bool:
        scores = {**took_part, **{f"low {row}": -1.0 for row in range(innocent - 1)}, "one": float(against[-place])}
        return suspects(scores, against, level)[-1].accused

    # The first innocent one to be accused must score above the decoy in this place from the top.
    place = next(place for place in range(1, decoys) if not accuses(place + 1))
    thresholds = np.partition(draw.random((4_000, decoys), np.float32), -place, axis=1)[:, -place]
    above = 1 - thresholds.astype(np.float64) ** innocent > level
    assert above.mean() <= 0.01 + 4 * (0.01 / 4_000) ** 0.5


@pytest.mark.parametrize(("recipients", "decoys"), [(1, 5_000), (3, 14_000), (3, 100_000), (20, 92_102), (20, 400_000)])
def test_the_share_of_innocent_keys_that_accuse_is_that_of_the_ranks_that_accuse(recipients: int, decoys: int) -> None:
    against = np.arange(decoys, dtype=np.float64)
    others = {str(row): -1.0 for row in range(recipients - 1)}
    ranks = round(accusing_share(1e-3, recipients, decoys) * (1 + decoys))
    # In this place from the top, the last that accuses, and in the next.
    for place, accused in ((ranks, True), (ranks + 1, False)):
        scores = {**others, "one": decoys - place + 0.5}
        assert suspects(scores, against)[-1].accused == accused


@given(
    level=st.floats(1e-9, 0.9).map(lambda level: float(f"{level:.3g}")),
    times=st.floats(0.999, 1.001) | st.floats(0.01, 100),
)
def test_a_bound_reads_above_the_level_only_where_it_is(level: float, times: float) -> None:
    assert (float(beside_level(times * level, level)) > float(f"{level:g}")) == (times * level > level)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00104, "0.00104"), (0.0012345, "0.0012"), (0.00099999, "0.001"), (0.001, "0.001"), (1.0, "1")],
)
def test_a_bound_has_two_digits_if_these_tell_it_from_the_level(value: float, text: str) -> None:
    assert beside_level(value, 1e-3) == text


def test_twenty_recipients_at_one_in_a_thousand_take_ninety_thousand_decoys() -> None:
    """The bound without a decoy as high is about 4.6 / decoys."""
    assert least_decoys(1e-3, 20) == 92_102
    assert least_decoys(1e-3, 21) <= 100_000 < least_decoys(1e-3, 22)


def test_everybody_who_took_part_is_accused() -> None:
    scores = {"A": 9.0, "B": 1.0, "C": 8.0}
    found = suspects(scores, np.linspace(0, 5, 20_000))
    assert [each.recipient for each in found] == ["A", "B", "C"]
    assert [each.accused for each in found] == [True, False, True]


@pytest.mark.parametrize("scores", [(float("nan"), [1.0]), (1.0, [float("nan")]), (1.0, [])])
def test_scores_that_are_no_numbers_are_refused(scores: tuple[float, list[float]]) -> None:
    with pytest.raises(SettingsError, match="decoy"):
        p_value(scores[0], np.array(scores[1]))


@pytest.mark.parametrize("level", [1e-9, 1e-12, 5e-324])
def test_a_level_that_no_trace_could_reach_is_refused(level: float) -> None:
    with pytest.raises(SettingsError, match=r"takes more than 10,000,000 decoys for 3 recipients"):
        least_decoys(level, 3)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 2.0])
def test_a_level_is_a_probability(level: float) -> None:
    with pytest.raises(SettingsError, match="level"):
        least_decoys(level, 3)
