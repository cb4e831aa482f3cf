from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from monai_advenc.evaluation.advice import BaseFacts, Hurried
from monai_advenc.evaluation.measurement import Measurement
from monai_advenc.evaluation.verdict import NOT_MEASURED, Verdict, judge

Answers = NDArray[np.int64]


def labels_of(counts: tuple[int, ...]) -> Answers:
    return np.repeat(np.arange(len(counts)), counts)


def with_accuracy(labels: Answers, share: float, classes: int, wrong: Callable[[int], int] | None = None) -> Answers:
    """Answers of which a share of each class is right; the wrong ones spread over the other classes."""
    answers = labels.copy()
    for label in range(classes):
        rows = np.flatnonzero(labels == label)
        for place, row in enumerate(rows[round(share * len(rows)) :]):
            others = [other for other in range(classes) if other != label]
            answers[row] = others[place % len(others)] if wrong is None else wrong(label)
    return answers


def measured(
    answers: Answers, labels: Answers, trained_on: str, network: str = "vgg_small", fold: int = 0, seed: int = 0
) -> Measurement:
    classes = int(labels.max()) + 1
    confusion = np.zeros((classes, classes), dtype=int)
    np.add.at(confusion, (labels, answers), 1)
    share = float((answers == labels).mean())
    return Measurement(
        network=network,
        trained_on=trained_on,
        test_set="orig",
        seed=seed,
        last=share,
        peak=share,
        low=0,
        high=1,
        per_class=(None,) * classes,
        confusion=tuple(map(tuple, confusion.tolist())),
        history=(share,),
        answers=tuple(answers.tolist()),
        labels=tuple(labels.tolist()),
        fold=fold,
    )


def verdict_of(
    clean: float, encrypted: float, counts: tuple[int, ...] = (100, 100, 100), wrong: Callable[[int], int] | None = None
) -> Verdict:
    labels, classes = labels_of(counts), len(counts)
    return judge(
        [
            measured(with_accuracy(labels, share, classes, wrong if arm != "clean" else None), labels, arm, network)
            for network in ("vgg_small", "preresnet_small")
            for arm, share in (("clean", clean), ("encrypted", encrypted))
        ]
    )


def test_images_of_one_patient_widen_the_interval_and_the_verdict_says_so() -> None:
    labels = labels_of((100, 100))
    arms = {"clean": with_accuracy(labels, 0.9, 2), "encrypted": with_accuracy(labels, 0.8, 2)}
    measurements = [measured(answers, labels, arm) for arm, answers in arms.items()]
    found = judge(measurements, [f"patient {row // 10}" for row in range(200)])
    assert found.patients == 20
    assert "200 real images of 20 patients" in found.reason
    for known in (None, [f"patient {row}" for row in range(200)]):
        other = judge(measurements, known)
        assert "independent" not in other.reason
        assert found.interval is not None
        assert other.interval is not None
        assert found.interval[0] < other.interval[0] < other.interval[1] < found.interval[1]
    # Wrong are all of four patients and no other: as of no more than 20 images.
    assert "as of 17 independent images)" in found.reason
    assert Verdict.of_dict(found.as_dict()) == found
    old = found.as_dict()
    del old["verdict_details"]["patients"]
    assert Verdict.of_dict(old).patients is None, "earlier versions did not count them"


def test_few_patients_with_many_images_prove_no_loss() -> None:
    # The victim is wrong on all 20 images of one patient more than its twin: p = 0.00003 by images, 0.5 by patients.
    labels = labels_of((100, 100))
    clean, encrypted = labels.copy(), labels.copy()
    encrypted[:20] = 1
    measurements = [
        measured(answers, labels, arm, network)
        for network in ("vgg_small", "preresnet_small")
        for arm, answers in (("clean", clean), ("encrypted", encrypted))
    ]
    assert judge(measurements).verdict == "weak"
    found = judge(measurements, [f"patient {row // 20}" for row in range(200)])
    assert found.verdict == "none"
    assert found.p_value == pytest.approx(0.5)


def test_the_interval_decides_between_protected_and_weak_halfway_to_chance() -> None:
    # Clean 0.9, chance 1/3: the bar is 0.6167. Of 300 images, Wilson's upper limit of 168 right is 0.6151 and of 169
    # right 0.6183 (computed with the formula by hand).
    def upper(right: int, total: int = 300, z: float = 1.959963984540054) -> float:
        share = right / total
        middle, spread = share + z**2 / (2 * total), z * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
        return (middle + spread) / (1 + z**2 / total)

    assert upper(168) < 0.61666 < upper(170)
    assert verdict_of(0.9, 0.56).verdict == "protected"
    found = verdict_of(0.9, 0.57)
    assert found.verdict == "weak"
    assert "on 300 real images (95 %" in found.reason
    assert found.interval is not None
    assert found.interval[1] == pytest.approx(upper(171))
    assert found.bar == pytest.approx((0.9 + 1 / 3) / 2)
    assert found.chance == pytest.approx(1 / 3)


def test_a_verdict_that_fails_for_lack_of_images_says_how_many_would_be_enough() -> None:
    # Clean 0.9, encrypted 0.5, chance 1/2: the bar is 0.7. z^2 * 0.7 * 0.3 / 0.2^2 = 20.2 images.
    few = verdict_of(0.9, 0.5, (10, 10))
    assert (few.verdict, few.enough) == ("weak", 21)
    assert few.reason.endswith("With the same accuracies, about 21 held-out images would be enough.")
    assert Verdict.of_dict(few.as_dict()).enough == 21
    enough = verdict_of(0.9, 0.5, (12, 12))
    assert (enough.verdict, enough.enough) == ("protected", None)
    above = verdict_of(0.9, 0.8, (50, 50))
    assert (above.enough, "would be enough" in above.reason) == (None, False)


def test_no_significant_loss_is_no_protection() -> None:
    assert verdict_of(0.92, 0.92).verdict == "none"
    assert verdict_of(0.92, 0.98).verdict == "none"
    assert verdict_of(0.92, 0.91).verdict == "none"
    assert verdict_of(0.92, 0.86).verdict == "weak"


@pytest.mark.parametrize(("clean", "encrypted"), [(0.95, 0.90), (0.60, 0.55), (0.64, 0.59)])
def test_five_points_are_enough_whatever_their_shares_round_to(clean: float, encrypted: float) -> None:
    counts = (2000, 2000, 2000)
    assert verdict_of(clean, encrypted, counts=counts).verdict == "weak"
    assert verdict_of(clean, encrypted + 0.001, counts=counts).verdict == "none"


def test_near_chance_a_loss_of_fewer_than_five_points_is_no_protection() -> None:
    counts = (2000, 2000)
    assert verdict_of(0.57, 0.527, counts=counts, wrong=None).verdict == "none"
    assert verdict_of(0.57, 0.511, counts=counts, wrong=None).verdict == "protected"


def test_the_paired_test_is_mcnemars_exact_one() -> None:
    # 20 images that only the network trained on originals gets right, 8 that only the victim does: the one-sided exact
    # probability is the sum of binomials C(28, k) / 2**28 for k >= 20, which is 0.01785.
    labels = labels_of((100, 100, 100))
    clean, encrypted = labels.copy(), labels.copy()
    clean[:8] = 1
    encrypted[100:120] = 0
    found = judge(
        [
            measured(answers, labels, arm, network)
            for network in ("a", "b")
            for arm, answers in (("clean", clean), ("encrypted", encrypted))
        ]
    )
    assert found.p_value == pytest.approx(0.01785, abs=1e-4)
    # Two trainings on the same images differ by as much.
    assert found.verdict == "none"
    assert "Fewer than 5 points are lost" in found.reason


def test_a_victim_of_two_classes_that_is_always_wrong_is_right_after_renaming() -> None:
    found = verdict_of(0.95, 0.02, (150, 150))
    assert found.verdict == "none"
    assert found.renamed
    assert found.accuracy == pytest.approx(0.98)
    assert "often wrong in one way for all images of a class" in found.reason
    assert "renamed" not in verdict_of(0.95, 0.9, (150, 150)).reason


def test_a_victim_of_three_classes_that_names_one_wrong_class_for_each_is_right_after_renaming() -> None:
    found = verdict_of(0.95, 0.0, wrong=lambda label: (label + 1) % 3)
    assert (found.verdict, found.accuracy) == ("none", 1.0)


@pytest.mark.parametrize("classes", [4, 5, 10])
def test_a_victim_of_many_classes_that_is_always_wrong_in_one_way_is_right_after_renaming(classes: int) -> None:
    found = verdict_of(0.95, 0.0, (60,) * classes, wrong=lambda label: (label + 1) % classes)
    assert (found.verdict, found.accuracy, found.renamed) == ("none", 1.0, True)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=40, max_size=40))
def test_the_best_renaming_is_the_best_of_all_that_there_are(pairs: list[tuple[int, int]]) -> None:
    labels = np.array([label for label, _ in pairs] + [0, 1, 2, 3] * 3)
    answers = np.array([answer for _, answer in pairs] + [1, 2, 3, 0] * 3)
    best = max(float((np.array(target)[answers] == labels).mean()) for target in itertools.permutations(range(4)))
    found = judge(
        [
            measured(given, labels, arm, network)
            for network in ("a", "b")
            for arm, given in (("clean", labels), ("encrypted", answers))
        ]
    )
    assert found.accuracy == pytest.approx(best)


def test_an_architecture_that_learns_nothing_from_originals_does_not_count() -> None:
    labels = labels_of((100, 100, 100))
    parts = {"a": {"clean": 0.9, "encrypted": 0.35}, "b": {"clean": 0.33, "encrypted": 0.33}}
    found = judge(
        [
            measured(with_accuracy(labels, share, 3), labels, arm, network)
            for network, arms in parts.items()
            for arm, share in arms.items()
        ]
    )
    assert found.verdict == "not measured"
    assert "Fewer than two architectures" in found.reason or "not better than chance" in found.reason


def test_victims_that_lack_folds_of_an_interrupted_evaluation_are_left_out() -> None:
    labels = labels_of((40, 40, 40))
    some, rest = np.arange(0, len(labels), 2), np.arange(1, len(labels), 2)
    whole = [
        measured(with_accuracy(labels, share, 3)[rows], labels[rows], arm, "a", fold)
        for arm, share in (("clean", 0.9), ("encrypted", 0.9))
        for fold, rows in enumerate((some, rest))
    ]
    partial = measured(with_accuracy(labels, 0.9, 3)[some], labels[some], "encrypted", "b", 0)
    twin = [
        measured(with_accuracy(labels, 0.9, 3)[rows], labels[rows], "clean", "b", fold)
        for fold, rows in enumerate((some, rest))
    ]
    assert judge([*whole, partial, *twin]) == judge(whole)


def test_the_best_of_all_victims_decides() -> None:
    labels = labels_of((100, 100, 100))
    parts = {"vgg_small": {"encrypted": 0.3, "encrypted body only": 0.9}, "preresnet_small": {"encrypted": 0.3}}
    found = judge(
        [
            measured(with_accuracy(labels, share, 3), labels, arm, network)
            for network, arms in parts.items()
            for arm, share in {"clean": 0.9, **arms}.items()
        ]
    )
    assert found.verdict == "none"
    assert "vgg_small trained on encrypted images without background" in str(found.victim)


def test_the_reason_is_in_words_that_a_reader_knows_and_names_a_seed_only_where_there_are_several() -> None:
    labels = labels_of((100, 100, 100))

    def of_seeds(*seeds: int) -> Verdict:
        arms = {"clean": 0.9, "encrypted": 0.5, "encrypted body only": 0.6}
        return judge(
            [
                measured(with_accuracy(labels, share, 3), labels, arm, network, seed=seed)
                for network in ("b", "a")
                for arm, share in arms.items()
                for seed in seeds
            ]
        )

    one, several = of_seeds(1000), of_seeds(1000, 1001)
    assert "(b trained on encrypted images without background) has an accuracy of 60.0%" in one.reason
    assert "(b trained on encrypted images without background, network seed 1000)" in several.reason
    for found in (one, several):
        assert not {"clean", "body only", "victim"} & set(found.reason.replace("(", " ").split())
        assert Verdict.of_dict(found.as_dict()) == found
    assert (one.networks, one.seeds, several.seeds) == (("a", "b"), 1, 2)


def test_nothing_follows_from_a_network_that_learned_nothing_from_originals() -> None:
    found = verdict_of(1 / 3, 1 / 3)
    assert found.verdict == "not measured"
    assert "not better than chance" in found.reason
    # Chance is the commonest class: 60 % right is nothing where 60 % of the images are of one class.
    assert verdict_of(0.6, 0.3, (180, 60, 60)).verdict == "not measured"


def test_one_architecture_shows_a_lack_of_protection_but_never_protection() -> None:
    labels = labels_of((100, 100, 100))

    def of_one(encrypted: float) -> str:
        arms = {"clean": 0.9, "encrypted": encrypted}
        return judge([measured(with_accuracy(labels, share, 3), labels, arm) for arm, share in arms.items()]).verdict

    assert of_one(0.3) == of_one(0.8) == "not measured"
    assert of_one(0.9) == "none"


def test_without_victims_nothing_is_measured() -> None:
    assert judge([]) == NOT_MEASURED
    labels = labels_of((100, 100))
    assert judge([measured(labels, labels, "clean")]) == NOT_MEASURED
    old = measured(labels, labels, "encrypted").model_copy(update={"answers": (), "labels": ()})
    assert judge([measured(labels, labels, "clean"), old]) == NOT_MEASURED, "earlier versions kept no answers"


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(10)), st.integers(2, 5))
def test_folds_and_their_order_change_nothing(order: list[int], parts: int) -> None:
    labels = labels_of((40, 40, 40))
    clean, encrypted = with_accuracy(labels, 0.9, 3), with_accuracy(labels, 0.5, 3)
    whole, folds = [], []
    for network, (arm, answers) in itertools.product("ab", (("clean", clean), ("encrypted", encrypted))):
        whole.append(measured(answers, labels, arm, network))
        for fold in range(parts):
            rows = np.arange(fold, len(labels), parts)
            folds.append(measured(answers[rows], labels[rows], arm, network, fold))
    shuffled = [folds[place % len(folds)] for place in order] + folds
    unique = list({each.victim: each for each in shuffled}.values())
    one, other = judge(whole), judge(unique)
    assert (one.verdict, one.accuracy, one.p_value) == (other.verdict, other.accuracy, other.p_value)
    assert other.images == len(labels)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.4, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_more_accurate_victim_never_earns_a_better_verdict(clean: float, one: float, other: float) -> None:
    words = ("not measured", "none", "weak", "protected")
    low, high = sorted((one, other))
    counts = (60,) * 5
    # A victim below chance is a good one after renaming: wrong answers are spread evenly here, so this stays below.
    low, high = max(low, 0.3), max(high, 0.3)
    worse, better = verdict_of(clean, high, counts), verdict_of(clean, low, counts)
    assert words.index(worse.verdict) <= words.index(better.verdict)


def test_a_verdict_survives_its_file() -> None:
    found = verdict_of(0.9, 0.5)
    assert Verdict.of_dict(found.as_dict()).as_dict() == found.as_dict()
    assert found.as_dict()["verdict"] == "protected"
    assert found.reason.startswith("The best of the networks that learned from")
    assert found.sentence.startswith("Verdict: protected against training as usual. Best network trained on encrypted")


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.3, 1),
    st.floats(0, 1),
    st.sampled_from([(10, 10), (100, 100, 100), (40, 40, 40, 40, 400)]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([BaseFacts(), BaseFacts(0.4, "targeted"), BaseFacts(0.4, "targeted", elsewhere=True)]),
    st.sampled_from([None, Hurried(100, 250)]),
)
def test_the_console_gets_the_verdict_in_four_hundred_characters(
    clean: float,
    encrypted: float,
    counts: tuple[int, ...],
    by_patient: bool,
    one_network: bool,
    base: BaseFacts,
    hurried: Hurried | None,
) -> None:
    labels, classes = labels_of(counts), len(counts)
    measurements = [
        measured(with_accuracy(labels, share, classes), labels, arm, network)
        for network in (("preresnet_small",) if one_network else ("vgg_small", "preresnet_small"))
        for arm, share in (("clean", clean), ("encrypted, body only", encrypted))
    ]
    patients = [f"p{row // 2}" for row in range(len(labels))] if by_patient else None
    found = judge(measurements, patients, base, hurried)
    assert len(found.sentence) <= 400, found.sentence
    assert found.sentence.count("(") == found.sentence.count(")")
    if found.verdict != "not measured":
        assert f"{found.accuracy:.1%} on {len(labels)} real images" in found.sentence
        assert f"on originals: {found.clean:.1%}" in found.sentence
        assert found.advice.startswith(found.sentence.partition(f"{found.bar:.1%}. ")[2].partition("; the report")[0])
