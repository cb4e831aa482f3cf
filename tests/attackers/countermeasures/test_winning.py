"""Each attacker wins where it must: on a set whose weakness is known."""

from __future__ import annotations

import pytest

from tests.attackers.countermeasures.planted_sets import accuracy, attack, waves, with_patterns

ORIGINALS, REAL = waves(90, 0), waves(90, 1)
CHANCE = 1 / 3


@pytest.fixture(scope="module")
def undefended() -> float:
    return accuracy(attack("usual", with_patterns(ORIGINALS), ORIGINALS), REAL)


def test_training_as_usual_is_misled_by_planted_patterns(undefended: float) -> None:
    assert undefended < CHANCE + 0.05
    assert accuracy(attack("usual", ORIGINALS, ORIGINALS), REAL) > CHANCE + 0.25


@pytest.mark.parametrize(
    "name", ["blur-1", "resize-half", "jpeg-10", "clean-5-tuned", "clean-5-mixed", "clean-5-alone", "shallow"]
)
def test_attackers_against_fine_detail_and_those_with_clean_images_win(name: str, undefended: float) -> None:
    assert accuracy(attack(name, with_patterns(ORIGINALS), ORIGINALS), REAL) > undefended + 0.15
