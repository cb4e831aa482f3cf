"""Statistics against figures that others published or that follow by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import chi2, multinomial, norm

from monai_advenc.errors import SettingsError
from monai_advenc.reader_study.statistics.agreement import (
    _cohen,
    _fleiss,
    cohen_agreement,
    fleiss_agreement,
    pooled_cohen_agreement,
)
from monai_advenc.reader_study.statistics.multiple_readers import (
    ReadersDifference,
    compare_cautiously,
    design_effect,
    readers_difference,
    worth_of_readings,
)
from monai_advenc.reader_study.statistics.paired_proportions import (
    FourCells,
    best_possible_bound,
    difference_interval,
    mcnemar_exact_p,
    non_inferiority_p,
    score_statistic,
    wilson_interval,
)
from monai_advenc.reader_study.statistics.sample_size import cases_needed, power_of

# Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables (2017), chapter 8: complete response before
# and after consolidation (Cavo et al. 2012), airway hyper-responsiveness before and after transplantation (Bentur et
# al. 2009).
CAVO = FourCells(both_right=59, only_encrypted_right=6, only_original_right=16, both_wrong=80)
BENTUR = FourCells(both_right=1, only_encrypted_right=1, only_original_right=7, both_wrong=12)

CELLS = st.tuples(*[st.integers(0, 60)] * 4).filter(any).map(lambda counts: FourCells(*counts))


def test_mcnemars_exact_test_gives_the_published_values() -> None:
    assert mcnemar_exact_p(CAVO) == pytest.approx(0.052479, abs=1e-6)
    assert mcnemar_exact_p(BENTUR) == pytest.approx(0.0703, abs=5e-5)


def test_mcnemars_exact_test_is_twice_a_binomial_tail() -> None:
    # Two against eight discordant pairs: 2 (1 + 10 + 45) / 1024.
    assert mcnemar_exact_p(FourCells(50, 40, 8, 2)) == pytest.approx(112 / 1024)
    assert mcnemar_exact_p(FourCells(5, 5, 0, 0)) == 1


def test_tangos_interval_gives_the_published_limits() -> None:
    assert difference_interval(CAVO) == pytest.approx((-0.1240, -0.0054), abs=5e-5)
    assert difference_interval(BENTUR) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("losses", "gains"), [(60, 0), (30, 5), (99, 0), (98, 1)])
def test_tangos_limits_of_large_losses_are_where_his_statistic_is_the_quantile(losses: int, gains: int) -> None:
    low, high = difference_interval(FourCells(100 - losses - gains, 0, losses, gains))
    limits = [float(score_statistic(gains, losses, 100, limit)) for limit in (low, high)]
    assert limits == pytest.approx([norm.isf(0.025), norm.isf(0.975)], abs=1e-4)
    mirrored = difference_interval(FourCells(100 - losses - gains, 0, gains, losses))
    assert mirrored == pytest.approx((-high, -low), abs=1e-6)


def test_where_nearly_all_is_lost_tangos_interval_still_holds_the_estimate() -> None:
    low, high = difference_interval(FourCells(0, 1, 4999, 0))
    assert -1 < low < -4999 / 5000 < high < -0.99


def test_without_discordant_pairs_tangos_interval_is_that_of_a_zero_count() -> None:
    z = norm.isf(0.025)
    expected = z**2 / (100 + z**2)
    assert difference_interval(FourCells(70, 30, 0, 0)) == pytest.approx((-expected, expected), abs=1e-6)
    assert best_possible_bound(100, 0.025) == pytest.approx(expected)


@given(CELLS)
def test_at_a_difference_of_zero_tangos_statistic_squared_is_mcnemars(cells: FourCells) -> None:
    discordant = cells.only_encrypted_right + cells.only_original_right
    expected = (cells.only_encrypted_right - cells.only_original_right) ** 2 / discordant if discordant else 0
    statistic = float(score_statistic(cells.only_encrypted_right, cells.only_original_right, cells.total, 0.0))
    assert chi2.sf(statistic**2, 1) == pytest.approx(chi2.sf(expected, 1))


@given(CELLS, st.floats(0.01, 0.4))
def test_test_and_interval_of_non_inferiority_agree(cells: FourCells, margin: float) -> None:
    low, high = difference_interval(cells)
    assert low - 1e-6 <= cells.difference <= high + 1e-6
    if abs(low + margin) > 1e-6:
        assert (low > -margin) == (non_inferiority_p(cells, margin) < 0.025)


def test_the_papers_figure_on_a_hundred_cases_shows_no_loss_at_ten_points_but_not_at_five() -> None:
    paper = FourCells(both_right=72, both_wrong=23, only_original_right=2, only_encrypted_right=3)
    assert paper.shares == (0.72, 0.23, 0.02, 0.03)
    assert paper.difference == pytest.approx(0.01)
    # Exact: five discordant pairs, two against three, one tail of a fair coin each way.
    assert mcnemar_exact_p(paper) == 1
    low, high = difference_interval(paper)
    assert -0.05 < low < 0 < high
    assert non_inferiority_p(paper, 0.05) < 0.025
    # The same shares of a study of thirty cases show nothing at five points.
    assert non_inferiority_p(paper.thinned(100 / 30), 0.05) > 0.025


def test_wilsons_interval_gives_newcombes_published_limits() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson_interval(0, 0) == (0, 1)


def test_wilsons_interval_of_another_level_is_his_formula() -> None:
    z, share, total = norm.isf(0.05), 81 / 263, 263
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    reach = z / (1 + z**2 / total) * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
    assert wilson_interval(81, 263, 0.9) == pytest.approx((middle - reach, middle + reach))


def test_cohens_kappa_gives_the_textbook_value() -> None:
    # Fifty proposals of which two readers say yes or no: 20, 5, 10, 15; observed 0.7, by chance 0.5.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    agreement = cohen_agreement(list(zip(first, second, strict=True)), ("no", "yes"))
    assert agreement.agreed == pytest.approx(0.7)
    assert agreement.kappa == pytest.approx(0.4)
    assert agreement.interval is not None
    assert agreement.interval[0] < 0.4 < agreement.interval[1]


def test_fleiss_kappa_gives_the_published_value() -> None:
    # Fleiss, Psychological Bulletin 76 (1971) 378-382: 30 patients, six psychiatrists, five diagnoses; kappa 0.430.
    rows = (
        "444444 222555 233335 555555 222444 113333 333355 113334 114444 555555 144444 124444 222333 144444 224445 "
        "333335 111455 111112 224444 133555 555555 244444 224555 114444 144445 222224 111155 224444 133333 555555"
    )
    agreement = fleiss_agreement([list(row) for row in rows.split()], "12345")
    assert agreement.cases == 30
    assert agreement.kappa == pytest.approx(0.430, abs=5e-4)


def test_an_interval_of_kappa_ends_at_one() -> None:
    agreement = cohen_agreement(list(zip("aaaaabbbbb", "aaaaabbbba", strict=True)), "ab")
    assert agreement.interval is not None
    assert agreement.interval[1] == 1


def test_fleiss_interval_holds_nineteen_of_twenty_resamples_and_comes_out_the_same_each_time() -> None:
    generator = np.random.default_rng(5)
    truth = generator.integers(3, size=150)
    said = np.where(generator.random((4, 150)) < 0.7, truth, generator.integers(3, size=(4, 150))).T
    readings = [["abc"[code] for code in case] for case in said]
    interval = fleiss_agreement(readings, "abc").interval
    assert interval == fleiss_agreement(readings, "abc").interval
    assert interval is not None
    counts = np.stack([(said == code).sum(axis=1) for code in range(3)], axis=1)
    drawn = [_fleiss(counts[generator.integers(150, size=150)]) for _ in range(4000)]
    # A limit from a thousand resamples leaves out 2.5 % with a standard deviation of half a percent.
    assert np.mean([interval[0] <= (kappa or 0) <= interval[1] for kappa in drawn]) == pytest.approx(0.95, abs=0.015)


def test_where_many_resamples_would_hold_one_class_alone_kappa_has_no_interval() -> None:
    agreement = fleiss_agreement([("a", "a", "a")] * 8 + [("a", "a", "b")], "ab")
    assert agreement.kappa is not None
    assert agreement.interval is None


def test_kappa_is_not_defined_when_all_name_one_class() -> None:
    assert cohen_agreement([("a", "a")] * 8, ("a", "b")).kappa is None
    assert fleiss_agreement([("a", "a", "a")] * 8, ("a", "b")).kappa is None
    perfect = cohen_agreement([("a", "a"), ("b", "b")] * 4, ("a", "b"))
    assert perfect.kappa == 1
    # Eight cases without a disagreement do not say that there is none.
    assert perfect.interval is None
    assert fleiss_agreement([("a",) * 3, ("b",) * 3] * 4, ("a", "b")).interval is None


def test_the_spread_over_readers_is_that_of_obuchowski_and_rockette_by_hand() -> None:
    # Two readers, four cases; reader one loses one case, reader two gains another.
    right = np.array([[[1, 1, 0, 0], [1, 0, 0, 0]], [[1, 0, 0, 0], [1, 0, 1, 0]]], dtype=bool)
    found = readers_difference(right)
    assert found is not None
    assert found.estimate == 0
    # Differences -1/4 and +1/4: mean square of the interaction 2 (1/16) / 2 = 1/16.
    # Covariances of different readers over the four cases, divided by four: 1/24 within a condition, 1/32 across (the
    # mean of 0 and 3/48). One sixteenth and twice the difference is a twelfth.
    assert found.standard_error**2 == pytest.approx(1 / 12)
    # Hillis: the square of (1/16 + 1/48) by that of 1/16, with one degree of freedom.
    assert found.degrees_of_freedom == pytest.approx(16 / 9)


@settings(max_examples=200, deadline=None)
@given(readers=st.integers(2, 4), cases=st.integers(3, 12), seed=st.integers(0, 10_000))
def test_the_spread_over_readers_follows_from_each_cases_change_alone(readers: int, cases: int, seed: int) -> None:
    right = np.random.default_rng(seed).random((2, readers, cases)) < 0.6
    change = right[1].astype(float) - right[0]
    # Obuchowski and Rockette's four covariances, added up: those of the changes of one and of two readers, halved.
    covariance = np.cov(change) / cases / 2
    same, between = np.diag(covariance).mean(), covariance[~np.eye(readers, dtype=bool)].mean()
    means = change.mean(axis=1)
    interaction, shared = max(means.var(ddof=1) / 2, same - between), readers * max(between, 0)
    found = readers_difference(right)
    if interaction + shared < 1e-12:
        assert found is None
        return
    assert found is not None
    assert found.estimate == pytest.approx(means.mean())
    assert found.standard_error**2 == pytest.approx(2 / readers * (interaction + shared))
    if interaction > 1e-12:
        freedom = (readers - 1) * (interaction + shared) ** 2 / interaction**2
        assert found.degrees_of_freedom == pytest.approx(freedom)


def test_readers_who_lose_as_much_on_different_cases_have_a_spread() -> None:
    original = np.ones((2, 4), dtype=bool)
    encrypted = np.array([[0, 1, 1, 1], [1, 0, 1, 1]], dtype=bool)
    found = readers_difference(np.stack([original, encrypted]))
    assert found is not None
    # Variance of each reader's changes 1/4, covariance -1/12; over four cases, halved: 1/24; times 2 / 2.
    assert found.standard_error**2 == pytest.approx(1 / 24)


def test_of_many_cases_the_degrees_of_freedom_stay_finite() -> None:
    found = readers_difference(np.random.default_rng(3).random((2, 3, 1000)) < 0.9)
    assert found is not None
    assert 2 <= found.degrees_of_freedom < np.inf


def test_an_interval_ends_where_differences_do() -> None:
    assert ReadersDifference(-0.9, 0.5, 2.0).interval(0.025)[0] == -1
    assert ReadersDifference(0.9, 0.5, np.inf).interval(0.025)[1] == 1


def test_the_design_effect_follows_by_hand() -> None:
    # Two readers who err alike: variance of the mean change over four cases by three degrees of freedom, 2 x 4/3.
    alike = np.repeat(np.array([[[1, 1, 1, 1]], [[1, 1, 1, 0]]], dtype=bool), 2, axis=1)
    assert design_effect(alike) == pytest.approx(8 / 3)
    # Two who contradict each other are worth no more than all their readings.
    first = np.array([1, 0, 1, 0], dtype=bool)
    assert design_effect(np.array([[first, ~first], [~first, first]])) == 1


def test_a_single_case_counts_once_whoever_read_it() -> None:
    right = np.array([[[1], [1], [0]], [[1], [0], [0]]], dtype=bool)
    assert design_effect(right) == 3
    found = compare_cautiously(right, 0.1, 0.025)
    assert found.method == "Tango's score method, each case once"
    assert np.isfinite([found.p, *found.interval]).all()


def test_readers_who_never_differ_have_no_spread_and_count_each_case_once() -> None:
    right = np.ones((2, 3, 10), dtype=bool)
    assert readers_difference(right) is None
    assert design_effect(right) == 3


def test_readers_who_err_on_the_very_same_cases_are_worth_one_reader() -> None:
    generator = np.random.default_rng(0)
    one = generator.random((2, 1, 200)) < 0.8
    assert design_effect(np.repeat(one, 3, axis=1)) == pytest.approx(3, rel=0.02)
    assert design_effect(generator.random((2, 3, 2000)) < 0.8) < 1.15


@pytest.mark.parametrize("seed", range(6))
def test_of_two_methods_for_several_readers_the_more_cautious_decides(seed: int) -> None:
    generator = np.random.default_rng(seed)
    right = generator.random((2, 3, 80)) < np.array([0.9, 0.8, 0.7])[:, None]
    found, spread = compare_cautiously(right, 0.1, 0.025), readers_difference(right)
    assert spread is not None
    original, encrypted = right
    gains, losses = int((encrypted & ~original).sum()), int((original & ~encrypted).sum())
    thinned = FourCells(240 - gains - losses, 0, losses, gains).thinned(design_effect(right))
    assert found.p == max(spread.non_inferiority_p(0.1), non_inferiority_p(thinned, 0.1))
    limits = [spread.interval(0.025), difference_interval(thinned)]
    assert found.interval == (min(low for low, _ in limits), max(high for _, high in limits))
    assert (found.interval[0] > -0.1) == (found.p < 0.025)


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_a_loss_as_large_as_the_margin_is_seldom_ruled_out_by_simulated_readers(shared: float) -> None:
    generator = np.random.default_rng(1)
    margin, readers, cases, draws = 0.1, 3, 60, 400
    found = 0
    for _ in range(draws):
        # The same luck for all readers on some cases, each reader's own on the others.
        own, common = generator.random((readers, cases)), generator.random((1, cases))
        luck = np.where(generator.random((readers, cases)) < shared, common, own)
        original = luck < 0.75
        encrypted = (luck < 0.63) | ((luck >= 0.75) & (luck < 0.77))
        found += compare_cautiously(np.stack([original, encrypted]), margin, 0.025).p < 0.025
    # Three standard deviations above the level.
    assert found / draws <= 0.025 + 3 * (0.025 * 0.975 / draws) ** 0.5


def test_the_power_is_exact() -> None:
    # Five cases, no gains: the test passes by the number of losses alone.
    passes = [float(score_statistic(0, lost, 5, -0.6)) > norm.isf(0.05) for lost in range(6)]
    chance = sum(
        weight
        for lost, weight in enumerate(
            [0.9**5, 5 * 0.1 * 0.9**4, 10 * 0.01 * 0.9**3, 10 * 0.001 * 0.81, 5e-4 * 0.9, 1e-5]
        )
        if passes[lost]
    )
    assert power_of(5, 0.0, 0.1, 0.6, 0.05) == pytest.approx(chance)


def test_a_sample_of_the_size_advised_has_the_power_wanted_and_keeps_the_level() -> None:
    found = cases_needed(margin=0.05, power=0.8, discordant=0.05)
    assert found.power >= 0.8
    assert found.false_positive_rate <= 0.026
    # (1.960 + 0.842)^2 0.05 / 0.05^2, the usual formula.
    assert found.approximate_cases == 157
    assert power_of(found.cases - 1, 0.025, 0.025, 0.05, 0.025) < 0.8
    assert cases_needed(margin=0.1, discordant=0.05).cases < found.cases


@pytest.mark.parametrize(("gains", "losses"), [(0.02, 0.03), (0.2, 0.1), (0.0, 0.05)])
def test_the_power_is_the_sum_over_all_outcomes(gains: float, losses: float) -> None:
    cases, margin, alpha = 40, 0.1, 0.025
    won, lost = np.meshgrid(np.arange(cases + 1.0), np.arange(cases + 1.0))
    won, lost = won[won + lost <= cases], lost[won + lost <= cases]
    outcomes = np.stack([won, lost, cases - won - lost], axis=1)
    chance = multinomial.pmf(outcomes, cases, [gains, losses, 1 - gains - losses])
    passes = score_statistic(won, lost, cases, -margin) > norm.isf(alpha)
    assert power_of(cases, gains, losses, margin, alpha) == pytest.approx(chance[passes].sum(), abs=1e-9)


@pytest.mark.parametrize("discordant", [0.03, 0.12])
def test_a_few_more_cases_than_advised_never_have_too_little_power(discordant: float) -> None:
    found = cases_needed(0.1, discordant=discordant)
    powers = [power_of(found.cases + more, discordant / 2, discordant / 2, 0.1, 0.025) for more in range(10)]
    assert min(powers) >= 0.8


def test_without_discordant_cases_the_power_is_all_or_nothing() -> None:
    # z^2 / (n + z^2) is below 0.05 from 73 cases on.
    assert [power_of(cases, 0.0, 0.0, 0.05, 0.025) for cases in (72, 73)] == [0, 1]
    assert cases_needed(0.05, discordant=0.0).cases == 73


def test_an_expected_difference_counts_toward_the_margin() -> None:
    # The usual formula again: (1.960 + 0.842)^2 (0.05 - 0.0004) / 0.03^2.
    assert cases_needed(0.05, discordant=0.05, difference=-0.02).approximate_cases == 433
    with pytest.raises(SettingsError, match="inferior"):
        cases_needed(0.05, discordant=0.1, difference=-0.05)


def test_the_level_is_that_of_a_loss_of_just_the_margin() -> None:
    found = cases_needed(0.1, discordant=0.2)
    assert found.false_positive_rate == power_of(found.cases, 0.05, 0.15, 0.1, 0.025)


def test_readings_that_are_copies_are_worth_as_much_as_one_reader() -> None:
    right = [1, 0, 1, 1, 0, 1, 1, 1]
    # But for the degree of freedom of ten cases, of which two are added: 10 / 9.
    assert worth_of_readings([3 * each for each in right], [3] * 8) == pytest.approx(3 * 10 / 9)
    assert worth_of_readings([3] * 8, [3] * 8) == pytest.approx(3 * 10 / 9)


def test_readings_of_one_reader_are_nearly_independent_already() -> None:
    assert worth_of_readings([1, 0, 1, 1, 0, 1, 1, 1], [1] * 8) == pytest.approx(10 / 9)


def test_one_wrong_reading_does_not_raise_what_readers_are_known_to_reach() -> None:
    lows = []
    for wrong in range(4):
        right = [2] * wrong + [3] * (60 - wrong)
        worth = worth_of_readings(right, [3] * 60)
        lows.append(wilson_interval(sum(right) / worth, 180 / worth)[0])
    assert lows == sorted(lows, reverse=True)


def test_the_intervals_of_all_readers_hold_where_cases_decide_what_all_of_them_say() -> None:
    """Three readers who see hard cases alike; counted as independent, the intervals would hold in 78 % of studies."""
    generator, classes, readers, cases = np.random.default_rng(0), list("abc"), 3, 60

    def draw(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        hard, known = generator.random(count) < 0.15, generator.random(count) < 0.75
        truth = generator.integers(0, 3, count)
        slips = generator.random((readers, count)) < 0.05
        said = np.where(known, truth, (truth + 1) % 3)
        first = np.where(slips, (said + 2) % 3, said)
        return first, np.where(hard, (said + 1) % 3, said)[None].repeat(readers, 0), first == truth

    def tables(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        made = np.zeros((first.shape[1], 3, 3))
        for reader in range(readers):
            made[np.arange(first.shape[1]), first[reader], second[reader]] += 1
        return made

    first, second, right = draw(200_000)
    kappa, share = _cohen(tables(first, second)), right.mean()
    held_share = held_kappa = 0
    for _ in range(60):
        first, second, right = draw(cases)
        worth = worth_of_readings([*right.sum(axis=0)], [readers] * cases)
        low, high = wilson_interval(right.sum() / worth, right.size / worth)
        held_share += low <= share <= high
        pairs = [[(classes[first[r, i]], classes[second[r, i]]) for r in range(readers)] for i in range(cases)]
        interval = pooled_cohen_agreement(pairs, classes).interval
        held_kappa += interval is not None and kappa is not None and interval[0] <= kappa <= interval[1]
    # Of 60 studies 57 are expected; fewer than 51 come by chance in 0.1 % at 95 %, in 88 % at 78 %.
    assert held_share >= 51
    assert held_kappa >= 51


def test_pooled_agreement_is_cohens_kappa_of_all_pairs() -> None:
    pairs = [[("a", "a"), ("a", "b")], [("b", "b"), ("b", "b")], [("a", "a")]]
    flat = cohen_agreement(list(zip("aabba", "abbba", strict=True)), "ab")
    pooled = pooled_cohen_agreement(pairs, "ab")
    assert (pooled.cases, pooled.agreed, pooled.kappa) == (flat.cases, flat.agreed, flat.kappa)


def test_no_readings_have_no_difference() -> None:
    assert np.isnan(FourCells(0, 0, 0, 0).difference)
