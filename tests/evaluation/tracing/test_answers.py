"""Whose copy a model learned from, by its answers: identification, innocence, and what few classes cannot say."""

from __future__ import annotations

from collections import Counter
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from monai_advenc.encryption.correspondence import ClassCorrespondence, count_correspondences
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.errors import DatasetError, KeyFileError, SettingsError
from monai_advenc.evaluation.tracing.answers import Answers, draw_tables, trace_answers
from monai_advenc.evaluation.tracing.decoys import DECOYS as USUAL, Decoys
from monai_advenc.evaluation.tracing.significance import LEVEL, upper_bound

DECOYS = Decoys("07" * 32, 20_000)

TEN = tuple(f"class{number}" for number in range(10))


def key_of(targets: tuple[tuple[int, ...], ...], classes: tuple[str, ...]) -> EncryptionKey:
    combiner = "basic" if len(targets[0]) == 1 else "horizontal-concat"
    return draw_key(classes, combiner=combiner, correspondence=ClassCorrespondence(targets=targets), seed=0)


def derangements(count: int) -> list[tuple[int, ...]]:
    return [order for order in permutations(range(count)) if all(row != each for row, each in enumerate(order))]


def all_probes(classes: int, each: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True class and target of ``each`` probes of every pair of classes."""
    pairs = np.array(list(product(range(classes), range(classes))) * each)
    return pairs[:, 0], pairs[:, 1]


def misled_by(key: EncryptionKey, share: float = 1.0, each: int = 5) -> Answers:
    """A model that answers what the key's copy teaches to a share of the probes, and is right on the others."""
    labels, toward = all_probes(len(key.classes), each)
    sources = [
        next(label for label, row in enumerate(key.correspondence.targets) if target in row)
        for target in range(len(key.classes))
    ]
    learned = np.random.default_rng(0).random(len(labels)) < share
    answered = np.where(learned, np.array(sources)[toward], labels)
    return Answers(answered, labels, toward, key.classes)


def test_a_model_names_the_recipient_whose_copy_it_learned_from() -> None:
    keys = {name: draw_key(TEN, combiner="basic", seed=seed) for seed, name in enumerate("ABC")}
    found = trace_answers(keys, misled_by(keys["B"], share=0.2), DECOYS)
    assert found.accused == ("B",)
    assert found.can_identify
    assert found.fits_best == ("B",)
    assert found.suspects[1].p_value == pytest.approx(1 / 20_001)


@pytest.mark.parametrize("answer", range(10))
def test_a_model_that_always_answers_the_same_accuses_nobody(answer: int) -> None:
    keys = {name: draw_key(TEN, combiner="basic", seed=seed) for seed, name in enumerate("AB")}
    labels, toward = all_probes(10, 2)
    found = trace_answers(keys, Answers(np.full_like(labels, answer), labels, toward, TEN), DECOYS)
    assert [each.p_value for each in found.suspects] == [1.0, 1.0]


def test_scores_are_the_excess_of_the_wrong_answers_that_a_key_explains() -> None:
    """Two classes' images, perturbed toward three, answered by a model that sees the perturbation once."""
    labels, toward = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 0, 1, 2])
    answers = Answers(np.array([0, 2, 0, 1, 1, 1]), labels, toward, TEN[:3])
    # Class 2 was answered once to three images of class 0, so a third of an answer is expected toward each class.
    excess = answers.excess()
    assert excess[1, 2] == pytest.approx((1 - 1 / 3) / (1 / 3 + 1) ** 0.5)
    assert excess[0, 2] == excess[2, 2] == pytest.approx(-(1 / 3) / (1 / 3 + 1) ** 0.5)
    assert not excess[:, :2].any()
    tables = np.array([[[1], [2], [0]], [[2], [0], [1]]])
    assert answers.scores(tables) == pytest.approx([excess[0, 2], excess[1, 2]], abs=1e-6)


def test_right_answers_count_for_no_key() -> None:
    labels, toward = all_probes(10, 2)
    right = Answers(labels, labels, toward, TEN)
    assert not right.scores(draw_tables(10, 2, DECOYS)).any()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_whatever_a_model_answers_few_keys_that_it_never_saw_get_low_p_values(seed: int, bias: float) -> None:
    draw = np.random.default_rng(seed)
    labels, toward = all_probes(5, 8)
    habits = draw.integers(0, 5, (5, 5))
    habitual = draw.random(len(labels)) < bias
    answered = np.where(habitual, habits[labels, toward], draw.integers(0, 5, len(labels)))
    answers = Answers(answered, labels, toward, TEN[:5])
    orders = np.array(derangements(5))[:, :, None]
    scores, decoys = answers.scores(orders), answers.scores(draw_tables(5, 1, DECOYS))
    p_values = np.array([(1 + (decoys >= score).sum()) / 20_001 for score in scores])
    # All 44 keys are equally likely, so this is the chance of a p value of at most each threshold.
    for threshold in (0.03, 0.1, 0.3, 0.7):
        assert (p_values <= threshold).mean() <= threshold + 0.01


@pytest.mark.parametrize(("classes", "targets"), [(3, 1), (4, 1), (4, 2), (5, 1), (5, 2)])
def test_decoys_are_all_correspondences_equally_often(classes: int, targets: int) -> None:
    each = 100
    possible = count_correspondences(classes, targets)
    drawn = draw_tables(classes, targets, Decoys("03" * 32, each * possible))
    kinds, counts = np.unique(drawn.reshape(len(drawn), -1), axis=0, return_counts=True)
    assert len(kinds) == possible
    assert ((counts - each) ** 2 / each).sum() < possible + 5 * np.sqrt(2 * possible)
    for table in kinds.reshape(-1, classes, targets):
        ClassCorrespondence(targets=tuple(map(tuple, table.tolist())))


def test_the_order_of_the_targets_of_a_class_does_not_matter() -> None:
    one = draw_key(TEN, seed=4)
    other = key_of(tuple(tuple(reversed(row)) for row in one.correspondence.targets), TEN)
    found = trace_answers({"A": one, "B": other}, misled_by(one), DECOYS)
    assert found.suspects[0].score == found.suspects[1].score
    assert found.indistinguishable == (("A", "B"),)


def test_few_classes_identify_nobody_at_any_level() -> None:
    for classes, order in ((3, (1, 2, 0)), (4, (1, 0, 3, 2)), (5, (1, 2, 3, 4, 0))):
        own = key_of(tuple((target,) for target in order), TEN[:classes])
        assert trace_answers({"A": own}, misled_by(own), DECOYS, level=0.002 if classes == 5 else 0.4).accused == ()
        found = trace_answers({"A": own}, misled_by(own), DECOYS)
        assert not found.can_identify
        assert found.accused == ()
        assert found.fits_best == ("A",)
        assert found.least_p_value == pytest.approx(1 / len(derangements(classes)), rel=0.1)


def test_five_classes_with_two_targets_identify_nobody_because_answers_do_not_show_their_order() -> None:
    own = key_of(tuple(((label + 1) % 5, (label + 2) % 5) for label in range(5)), TEN[:5])
    pairs = [each for each in permutations(derangements(5), 2) if all(map(int.__ne__, *each))]
    seen = Counter(tuple(map(frozenset, zip(*each, strict=True))) for each in pairs)
    assert (len(pairs), len(seen)) == (552, 216)
    found = trace_answers({"A": own}, misled_by(own), DECOYS)
    assert (found.accused, found.can_identify) == ((), False)
    of_own = seen[tuple(map(frozenset, own.correspondence.targets))]
    assert found.least_p_value == pytest.approx(of_own / 552, rel=0.25)


def test_a_key_that_does_not_fit_is_not_among_the_best() -> None:
    keys = {"A": key_of(((1,), (2,), (0,)), TEN[:3]), "B": key_of(((2,), (0,), (1,)), TEN[:3])}
    assert trace_answers(keys, misled_by(keys["B"]), DECOYS).fits_best == ("B",)


def test_two_classes_have_one_correspondence_which_everybody_shares() -> None:
    keys = {name: key_of(((1,), (0,)), TEN[:2]) for name in "AB"}
    found = trace_answers(keys, misled_by(keys["A"]), DECOYS)
    assert found.least_p_value == 1
    assert found.indistinguishable == (("A", "B"),)
    assert [each.p_value for each in found.suspects] == [1, 1]


def test_keys_that_cannot_be_compared_are_refused() -> None:
    key = draw_key(TEN, combiner="basic", seed=0)
    answers = misled_by(key)
    with pytest.raises(KeyFileError, match="the key of B is for the classes"):
        trace_answers({"A": key, "B": draw_key(TEN[:5], combiner="basic", seed=0)}, answers, DECOYS)
    with pytest.raises(KeyFileError, match="error-minimizing"):
        trace_answers({"A": draw_key(TEN, profile="error-minimizing", seed=0)}, answers, DECOYS)
    with pytest.raises(KeyFileError, match="the paper prints"):
        trace_answers({"A": draw_key(TEN, combiner="basic", correspondence="section-3.3")}, answers, DECOYS)
    with pytest.raises(KeyFileError, match="one number of targets"):
        trace_answers({"A": key, "B": draw_key(TEN, seed=0)}, answers, DECOYS)
    with pytest.raises(SettingsError, match="got none"):
        trace_answers({}, answers, DECOYS)
    empty = np.empty(0, np.int64)
    with pytest.raises(DatasetError, match="at least one answered probe"):
        trace_answers({"A": key}, Answers(empty, empty, empty, TEN), DECOYS)


@pytest.mark.parametrize(("classes", "named_of"), [(4, 0), (5, 0), (6, 0), (7, 1)])
def test_the_page_says_how_many_keys_of_one_target_there_are_and_the_program_names_no_more_of(
    classes: int, named_of: int
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "how_to" / "trace.md").read_text(encoding="utf-8")
    keys = len(derangements(classes))
    targets = "1 or 2" if classes == 4 else "1"
    assert f"| {classes} | {targets} | {keys:,} | {1 / keys:.1g} |" in page
    decoys = Decoys("07" * 32, USUAL).for_model(classes, 1).count
    bound = upper_bound(round(decoys / keys), decoys)
    assert [count for count in (1, 2) if count * bound <= LEVEL] == list(range(1, named_of + 1))
