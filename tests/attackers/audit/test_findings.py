"""What the cells of an audit show: joined folds and seeds, comparisons, the worst attacker, the statement."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from monai_advenc.attackers.audit.cells import Cell, Confusion, as_measurements, last_and_best
from monai_advenc.attackers.audit.findings import Findings, findings_of, statement
from monai_advenc.evaluation.measurement import CLEAN

LABELS = tuple(label for label in range(3) for _ in range(100))
NETWORKS = ("vgg_small", "preresnet_small")


def confusion_of(answers: Sequence[int], labels: Sequence[int] = LABELS) -> Confusion:
    count = np.zeros((3, 3), int)
    np.add.at(count, (np.asarray(labels), np.asarray(answers)), 1)
    return tuple(map(tuple, count.tolist()))


def answers_of(accuracy: float) -> tuple[int, ...]:
    """So many right answers of each class, and the others spread over both wrong classes."""
    right = round(100 * accuracy)
    return tuple(label if place < right else (label + 1 + place % 2) % 3 for label in range(3) for place in range(100))


def cell(attacker: str, accuracy: float, network: str = "vgg_small", seed: int = 0, best: float = 0.0) -> Cell:
    answers = answers_of(accuracy)
    epochs = (confusion_of(answers_of(max(best, accuracy))), confusion_of(answers))
    return Cell(attacker=attacker, network=network, seed=seed, labels=LABELS, answers=answers, epochs=epochs)


def audited(usual: float, others: Sequence[Cell] = (), clean: float = 0.93) -> Findings:
    arms = [cell(name, value, network) for network in NETWORKS for name, value in ((CLEAN, clean), ("usual", usual))]
    return findings_of([*arms, *others], 1, None)


@settings(max_examples=50, deadline=None)
@given(answers=st.lists(st.integers(0, 2), min_size=300, max_size=300))
def test_answers_are_renamed_in_the_best_of_all_ways(answers: list[int]) -> None:
    measured = cell("usual", 0.5).model_copy(update={"answers": tuple(answers), "epochs": (confusion_of(answers),)})
    ways = [
        np.mean([way[answer] == label for answer, label in zip(answers, LABELS, strict=True)])
        for way in permutations(range(3))
    ]
    assert last_and_best([measured]) == pytest.approx((max(ways), max(ways)))


def test_the_best_epoch_is_one_for_all_folds() -> None:
    first, second = confusion_of(answers_of(0.9)), confusion_of(answers_of(0.4))
    answers = answers_of(0.4)
    folds = [
        Cell(attacker="usual", network="n", seed=0, fold=fold, labels=LABELS, answers=answers, epochs=epochs)
        for fold, epochs in enumerate([(first, second), (second, first)])
    ]
    assert last_and_best(folds) == pytest.approx((0.4, 0.65))


def test_a_mean_over_seeds_has_the_t_interval_and_one_seed_that_of_its_images() -> None:
    runs = [cell("jpeg-75", value, seed=seed) for seed, value in enumerate((0.6, 0.7, 0.8))]
    found = audited(0.4, runs)
    row = next(row for row in found.rows if row.attacker == "jpeg-75")
    # 4.3027 is the 97.5 % quantile of t with two degrees of freedom; the standard deviation is 0.1.
    assert row.interval == pytest.approx((0.7 - 4.3027 * 0.1 / 3**0.5, 0.7 + 4.3027 * 0.1 / 3**0.5), abs=1e-4)
    one = next(row for row in found.rows if row.attacker == "usual")
    # Wilson's interval of 120 of 300.
    assert one.interval == pytest.approx((0.3461, 0.4564), abs=2e-3)


def test_images_of_one_patient_count_for_less() -> None:
    parts = [cell(CLEAN, 0.93), cell("usual", 0.5)]
    # Ten images of each patient, all right or all wrong, say as much as one.
    alike = tuple(label if place // 10 < 5 else (label + 1) % 3 for label in range(3) for place in range(100))
    parts[1] = parts[1].model_copy(update={"answers": alike, "epochs": (confusion_of(alike),)})
    apart = findings_of(parts, 1, None).rows[0]
    together = findings_of(parts, 1, [f"p{row // 10}" for row in range(300)]).rows[0]
    widths = [high - low for low, high in (apart.image_interval, together.image_interval)]
    assert widths[1] > 2.5 * widths[0]


def test_an_interrupted_attacker_does_not_count() -> None:
    parts = [cell("jpeg-75", 0.9), *(cell(name, 0.5) for name in (CLEAN, "usual"))]
    whole = [each.model_copy(update={"fold": fold}) for each in parts for fold in range(2)]
    assert {row.attacker for row in findings_of(whole, 2, None).rows} == {"jpeg-75", "usual"}
    assert {row.attacker for row in findings_of(whole[1:], 2, None).rows} == {"usual"}


def test_the_worst_attacker_gains_from_the_encrypted_images_and_has_no_secret() -> None:
    others = [
        cell("clean-5-alone", 0.9),
        cell("clean-5-mixed", 0.88),
        cell("clean-1-alone", 0.5),
        cell("clean-1-mixed", 0.7),
        cell("blur-1", 0.6),
    ]
    found = audited(0.4, others)
    assert found.worst is not None
    assert found.worst.attacker == "clean-1-mixed"
    assert found.worst.gain == pytest.approx(0.2)
    assert found.worst.clean == pytest.approx(0.93)


def test_training_as_usual_is_no_attacker_that_could_be_the_worst() -> None:
    found = audited(0.8, [cell("jpeg-75", 0.6)])
    assert found.worst is not None
    assert (found.worst.attacker, found.attackers) == ("jpeg-75", 1)
    assert (audited(0.8, []).worst, audited(0.8, []).attackers) == (None, 0)


@pytest.mark.parametrize(
    ("usual", "others", "words"),
    [
        (
            0.4,
            [("adversarial-l2", 0.84), ("jpeg-75", 0.4)],
            "protects against training as usual (accuracy 40% of 93%); "
            "it does not protect against adversarial training (L2) (84%).",
        ),
        (
            0.4,
            [("adversarial-l2", 0.84), ("jpeg-75", 0.8), ("blur-1", 0.4)],
            "; it does not protect against adversarial "
            "training (L2) (84%), nor against 1 of the 2 other attackers tried.",
        ),
        (
            0.4,
            [("jpeg-75", 0.45), ("blur-1", 0.4)],
            "; it withstands all 2 attackers tried, of which the worst is "
            "JPEG compression at quality 75 (accuracy 45% of 93%).",
        ),
        (
            0.4,
            [("clean-1-alone", 0.6), ("clean-1-tuned", 0.75)],
            "it does not protect against fine-tuning all layers "
            "with 1 % clean images (75%, 60% with the clean images alone).",
        ),
        (
            0.4,
            [("jpeg-75", 0.45)],
            "(accuracy 40% of 93%); it withstands the only attacker tried, "
            "JPEG compression at quality 75 (accuracy 45% of 93%).",
        ),
        (0.4, [], "(accuracy 40% of 93%). No other attacker was tried."),
        (0.8, [("jpeg-75", 0.9)], "protects weakly against training as usual (accuracy 80% of 93%); it does not"),
        (0.93, [("jpeg-75", 0.9)], "does not protect against training as usual (accuracy 93% of 93%)"),
    ],
)
def test_the_statement_follows_fixed_rules(usual: float, others: list[tuple[str, float]], words: str) -> None:
    assert words in statement(audited(usual, [cell(name, value) for name, value in others]))


def test_without_a_network_that_learns_nothing_is_stated() -> None:
    assert statement(audited(0.4, clean=0.34)).startswith("What this data set protects against was not measured.")


def test_the_verdict_goes_by_its_own_victims_alone() -> None:
    with_attackers = audited(0.4, [cell("adversarial-l2", 0.9)])
    assert with_attackers.verdict == audited(0.4).verdict
    assert with_attackers.verdict.verdict == "protected"
    assert {each.trained_on for each in as_measurements([cell("blur-1", 0.9)])} == set()
