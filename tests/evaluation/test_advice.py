"""The advice fits what was measured, and its figures are those of the documentation."""

from __future__ import annotations

import re

import pytest

from monai_advenc.evaluation.advice import (
    NOTHING_KNOWN,
    BaseFacts,
    Hurried,
    advice_to_reach_targets,
    advice_to_strengthen,
)
from monai_advenc.evaluation.measurement import BODY_ONLY, ENCRYPTED
from tests.conftest import REPOSITORY


def advice(trained_on: str = ENCRYPTED, clean: float = 0.92, base: BaseFacts = NOTHING_KNOWN) -> str:
    return advice_to_strengthen(trained_on, clean, base)


@pytest.mark.parametrize("accuracy", [0.91, 0.95, 1.0])
def test_a_base_network_that_learned_the_task_is_not_to_be_trained_longer(accuracy: float) -> None:
    assert "--epochs" not in advice(base=BaseFacts(accuracy, "targeted"))


def test_training_longer_names_both_accuracies() -> None:
    assert "--epochs): its accuracy is 71%, that of the network trained on originals 92%" in advice(
        base=BaseFacts(0.71, "targeted")
    )
    assert "if its accuracy is below 92%" in advice()


def test_the_region_is_advised_where_the_background_can_be_cut_off() -> None:
    reason = "--region body, because the best network was trained without the background"
    assert reason in advice(BODY_ONLY)
    assert reason not in advice(ENCRYPTED)


def test_the_other_family_is_advised_to_those_who_do_not_use_it() -> None:
    assert "--profile error-minimizing" in advice(base=BaseFacts(1.0, "targeted"))
    assert "--profile error-minimizing" not in advice(base=BaseFacts(None, "error-minimizing"))
    assert "monai-advenc recommend" in advice()


def test_the_figures_of_the_advice_are_those_of_the_page_on_strength() -> None:
    stated = re.search(r"left networks (\d+ to \d+ points) less than Basic", advice())
    assert stated
    page = (REPOSITORY / "docs" / "strength.md").read_text(encoding="utf-8")
    assert f"left {stated[1]} less than Basic" in page


def test_a_base_network_from_elsewhere_that_reads_less_is_told_first() -> None:
    given = advice(base=BaseFacts(0.4, "targeted", elsewhere=True))
    assert given.startswith("To protect more, write another --out with a base network trained on these images (--base")
    assert "has 40% on them, training on originals 92%)" in given
    assert "on these images" not in advice(base=BaseFacts(0.91, "targeted", elsewhere=True))


@pytest.mark.parametrize(("clean", "first"), [(0.67, True), (0.74, False)])
def test_where_originals_teach_little_more_cases_come_first(clean: float, first: bool) -> None:
    """Of three classes: 67 % is half of the way from chance to no error, 74 % more than six tenths of it."""
    given = advice_to_strengthen(ENCRYPTED, clean, NOTHING_KNOWN, chance=1 / 3)
    reason = "with more cases, because even networks trained on originals reach 67% only"
    assert (reason in given) == first
    assert given.count("more cases") == 1


def test_who_trained_fewer_epochs_than_usual_is_to_train_them_before_cases_are_added() -> None:
    """The first way is all that the console shows; few epochs may be why networks learned little.

    84 images are 6 batches of 16 at most, so 42 epochs are the first that make 250 steps.
    """

    def given(clean: float) -> list[str]:
        return advice_to_strengthen(ENCRYPTED, clean, NOTHING_KNOWN, chance=1 / 3, hurried=Hurried.by(3, 84)).split(
            "; "
        )

    first, second, *_, last = given(0.67)
    assert first == (
        "First evaluate with the default of 42 epochs (another --out, no --epochs): with 3, training on originals "
        "reaches 67% only"
    )
    assert second.startswith("to protect more, write another --out with a larger --radius")
    assert last == "or more cases."
    assert given(0.97)[0].startswith("To protect more, write another --out with a larger --radius")
    assert (Hurried.by(None, 84), Hurried.by(42, 84), Hurried.by(12, 5000)) == (None, None, None)
    assert Hurried.by(11, 5000) == Hurried(11, 12)


@pytest.mark.parametrize("trained_on", [ENCRYPTED, BODY_ONLY])
@pytest.mark.parametrize("clean", [0.5, 0.92])
@pytest.mark.parametrize(
    "base", [NOTHING_KNOWN, BaseFacts(0.4, "targeted"), BaseFacts(0.4, "targeted", elsewhere=True, at_home=0.9)]
)
def test_what_is_advised_before_and_after_the_measurement_has_one_order(
    trained_on: str, clean: float, base: BaseFacts
) -> None:
    named = ("--base has", "larger --radius", "--steps", "--region body, because", "--profile", "a base network that")
    ranks = {name: rank for rank, name in enumerate((*named, "trained longer"))}
    for told in (advice_to_reach_targets(base), advice_to_strengthen(trained_on, clean, base, chance=1 / 3)):
        places = sorted((told.index(name), rank) for name, rank in ranks.items() if name in told)
        assert len(places) > 1
        assert [rank for _, rank in places] == sorted(rank for _, rank in places)


def test_before_the_measurement_a_base_network_is_compared_with_where_it_was_trained() -> None:
    """An accuracy of 80 % may be all that there is to learn, or little."""
    told = advice_to_reach_targets(BaseFacts(0.8, "targeted", elsewhere=True, at_home=0.9))
    assert told.startswith(
        "Write another --out with a base network trained on these images (--base has 80% on them, 90%"
    )
    for base in (BaseFacts(0.8, "targeted", elsewhere=True, at_home=0.81), BaseFacts(0.8, "targeted", elsewhere=True)):
        told = advice_to_reach_targets(base)
        assert told.startswith("Write another --out with a larger --radius")
        assert told.endswith("or a base network that reads these images better (its accuracy is 80%).")
