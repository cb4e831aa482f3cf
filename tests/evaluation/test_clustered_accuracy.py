"""Several images of one patient say less than as many images of different patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from monai_advenc.evaluation.clustered_accuracy import (
    better_than_chance,
    groups_of,
    images_enough,
    independent_images,
    interval_of,
    p_not_worse,
)

ANSWERS = st.lists(st.booleans(), min_size=2, max_size=60).map(np.array)


def of_patients(drawing: np.random.Generator, accuracy: float, patients: int = 40, each: int = 8) -> NDArray[np.bool_]:
    """Answers on some images of each patient, of whom some are easy and some are hard."""
    easiness = drawing.beta(accuracy, 1 - accuracy, size=patients)
    return drawing.random((patients, each)) < easiness[:, None]


def groups_like(right: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.repeat(np.arange(right.shape[0]), right.shape[1])


@given(ANSWERS)
def test_with_one_image_a_patient_the_interval_is_wilsons(right: NDArray[np.bool_]) -> None:
    expected = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    for groups in (groups_of(None, len(right)), groups_of([f"p{row}" for row in range(len(right))], len(right))):
        assert interval_of(right, groups) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.3, 0.95))
def test_with_as_many_images_as_are_enough_wilsons_interval_ends_below_the_bar(
    correct: int, wrong: int, bar: float
) -> None:
    right = np.repeat([True, False], [correct, wrong + 1])
    enough = images_enough(right, groups_of(None, len(right)), bar)
    share = float(right.mean())
    assert (enough is None) == (share >= bar)
    if enough is None or bar - share < 0.001:
        return
    above, below = (proportion_confint(share * count, count, method="wilson")[1] for count in (enough, enough - 1.01))
    assert above < bar + 1e-9
    assert enough == 1 or below > bar - 1e-9


def test_of_patients_whose_images_are_alike_more_images_are_enough() -> None:
    right = np.repeat([True, False, True, False, False], 4)
    alone, together = (images_enough(right, groups, 0.8) for groups in (np.arange(20), np.arange(20) // 4))
    assert alone is not None
    assert together is not None
    assert together >= 4 * alone


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_with_one_image_a_patient_the_paired_test_is_mcnemars(pairs: list[tuple[bool, bool]]) -> None:
    victim, twin = (np.array(column) for column in zip(*pairs, strict=True))
    better, worse = int((twin & ~victim).sum()), int((victim & ~twin).sum())
    expected = binomtest(better, better + worse, 0.5, alternative="greater").pvalue if better + worse else 1
    assert p_not_worse(victim, twin, groups_of(None, len(pairs))) == pytest.approx(expected)


@given(ANSWERS, st.integers(2, 5))
def test_copies_of_an_image_add_nothing(right: NDArray[np.bool_], copies: int) -> None:
    groups, repeated = np.repeat(np.arange(len(right)), copies), np.repeat(right, copies)
    assert independent_images(repeated, groups) <= len(right) + 1e-9
    low, high = interval_of(right, groups_of(None, len(right)))
    wide_low, wide_high = interval_of(repeated, groups)
    assert wide_low <= low + 1e-9
    assert wide_high >= high - 1e-9
    twin = np.ones_like(right)
    alone = p_not_worse(right, twin, groups_of(None, len(right)))
    assert p_not_worse(repeated, np.repeat(twin, copies), groups) == pytest.approx(alone)


@given(ANSWERS, st.data())
def test_no_grouping_makes_an_interval_narrower(right: NDArray[np.bool_], data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from("abcdefgh"), min_size=len(right), max_size=len(right)))
    groups = groups_of(names, len(right))
    assert 1 <= independent_images(right, groups) <= len(right)
    low, high = interval_of(right, groups)
    narrow = interval_of(right, groups_of(None, len(right)))
    assert 0 <= low <= narrow[0] + 1e-9
    assert narrow[1] - 1e-9 <= high <= 1


def test_the_interval_covers_the_accuracy_in_19_of_20_draws() -> None:
    """Of 500 draws from patients who differ much; the interval for independent images covers far fewer."""
    drawing, truth = np.random.default_rng(0), 0.7
    covered = {"by patient": 0, "independent": 0}
    for _ in range(500):
        right = of_patients(drawing, truth)
        for name, groups in (("by patient", groups_like(right)), ("independent", groups_of(None, right.size))):
            low, high = interval_of(right.reshape(-1), groups)
            covered[name] += low <= truth <= high
    assert covered["by patient"] >= 465
    assert covered["independent"] < 400


@pytest.mark.parametrize("sizes", [[200] + [1] * 20, [50] + [5] * 10, [20, 20] + [2] * 10, [64, 32, 16, 8, 4, 2, 1]])
@pytest.mark.parametrize("alike", [0.1, 0.5, 0.9])
def test_the_interval_covers_the_accuracy_where_few_patients_have_most_images(sizes: list[int], alike: float) -> None:
    """Of 200 draws; the accuracy of the patient with most images is near the whole, which hides how much it varies."""
    drawing, truth, groups = np.random.default_rng(2), 0.6, np.repeat(np.arange(len(sizes)), sizes)
    spread, covered = (1 - alike) / alike, 0
    for _ in range(200):
        easiness = drawing.beta(truth * spread, (1 - truth) * spread, len(sizes))
        low, high = interval_of(drawing.random(len(groups)) < easiness[groups], groups)
        covered += low <= truth <= high
    assert covered >= 184


def test_patients_with_equally_many_images_all_right_count_once_each_and_others_less() -> None:
    assert independent_images(np.ones(30, bool), np.repeat(np.arange(10), 3)) == pytest.approx(10)
    # The square of the sum over the sum of the squares.
    uneven = np.repeat(np.arange(4), [27, 1, 1, 1])
    assert independent_images(np.ones(30, bool), uneven) == pytest.approx(900 / 732)


def test_equal_victims_are_called_worse_in_one_of_20_draws() -> None:
    """Of 500 draws in which victim and twin differ from patient to patient, but not on average."""
    drawing, rejected = np.random.default_rng(1), {"by patient": 0, "independent": 0}
    for _ in range(500):
        victim, twin = of_patients(drawing, 0.7), of_patients(drawing, 0.7)
        for name, groups in (("by patient", groups_like(victim)), ("independent", groups_of(None, victim.size))):
            rejected[name] += p_not_worse(victim.reshape(-1), twin.reshape(-1), groups) < 0.05
    assert rejected["by patient"] <= 35
    assert rejected["independent"] > 75


def test_images_of_one_patient_prove_no_learning() -> None:
    right = np.array([True] * 38 + [False] * 2)
    assert better_than_chance(right, groups_of(None, 40), 0.5)
    assert not better_than_chance(right, groups_of(["one"] * 40, 40), 0.5)


def test_patients_must_be_as_many_as_images() -> None:
    with pytest.raises(ValueError, match="2 patients for 3 images"):
        groups_of(["a", "b"], 3)
