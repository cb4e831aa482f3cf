"""The order of cells, their expected time, and which are begun before it is up."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings, strategies as st

from monai_advenc.attackers.audit.cells import Cell, Place
from monai_advenc.attackers.audit.plan import Schedule, places_of
from monai_advenc.attackers.audit.suites import SUITES, chosen_attackers
from monai_advenc.attackers.countermeasures import ATTACKERS
from monai_advenc.errors import SettingsError
from monai_advenc.evaluation.measurement import CLEAN

PLAIN = {"vgg_small": 10.0, "preresnet_small": 20.0, "shallow": 3.0}


def test_what_the_verdict_needs_comes_first_and_other_victims_and_seeds_last() -> None:
    cells = [cell[0] for cell in places_of(SUITES["quick"], ["vgg_small", "preresnet_small"], [0, 1], 1)]
    assert [(place.attacker, place.network) for place in cells[:6]] == [
        (name, network)
        for network in ("vgg_small", "preresnet_small")
        for name in (CLEAN, "usual", "background-masked")
    ]
    assert [place.seed for place in cells] == sorted(place.seed for place in cells)
    of_first = [place for place in cells if place.seed == 0 and place.attacker not in (CLEAN, *SUITES["quick"][:2])]
    networks = [place.network for place in of_first if place.network != "shallow"]
    assert networks == sorted(networks, reverse=True), "the first victim before the second"
    assert len(cells) == len(set(cells))


def test_every_cell_has_all_folds_and_an_architecture_of_its_own_runs_once() -> None:
    cells = places_of(["usual", "shallow"], ["vgg_small", "preresnet_small"], [0], 5)
    assert all([place.fold for place in cell] == [0, 1, 2, 3, 4] for cell in cells)
    assert [cell[0].network for cell in cells if cell[0].attacker == "shallow"] == ["shallow"]


def test_suites_hold_each_other_and_full_has_all() -> None:
    assert set(SUITES["quick"]) < set(SUITES["standard"]) < set(SUITES["full"])
    assert sorted(SUITES["full"]) == sorted(ATTACKERS)


def test_named_attackers_come_with_their_baselines_and_training_as_usual() -> None:
    assert set(chosen_attackers("full", ["clean-1-tuned"])) == {"usual", "clean-1-tuned", "clean-1-alone"}
    with pytest.raises(SettingsError, match="unknown attacker 'guess'"):
        chosen_attackers("full", ["guess"])


@settings(max_examples=60, deadline=None)
@given(budget=st.floats(1, 2000), workers=st.integers(1, 8))
def test_with_a_budget_cells_are_begun_only_if_they_are_expected_to_fit(budget: float, workers: int) -> None:
    wanted = places_of(SUITES["standard"], ["vgg_small", "preresnet_small"], [0], 1)
    schedule = Schedule(PLAIN, workers, budget)
    begun = []
    for batch in schedule.batches(wanted):
        taken = 60 * schedule.minutes_of(batch)
        if begun:
            assert taken <= schedule.left
        begun += batch
        schedule.start -= max(taken, *(schedule.expected(cell) for cell in batch))  # As if that time had passed.
    assert len(begun) == len(set(begun)) >= 1
    assert begun[0] == wanted[0]
    if len(begun) < len(wanted):
        # All that is left takes longer than the time that is left.
        rest = [cell for cell in wanted if cell not in begun]
        assert min(map(schedule.expected, rest)) > schedule.left or schedule.left <= 0


def test_without_a_budget_everything_is_begun() -> None:
    wanted = places_of(SUITES["quick"], ["vgg_small"], [0], 1)
    assert list(Schedule(PLAIN, 2).batches(wanted)) == [wanted]
    assert list(Schedule(PLAIN, 2).batches([])) == []


def test_a_run_that_is_slower_than_expected_corrects_what_follows() -> None:
    schedule = Schedule(PLAIN, 1, 100, time.monotonic())
    usual, hard = (Place("usual", "vgg_small", 0),), (Place("adversarial-l2", "vgg_small", 0),)
    assert schedule.expected(usual) == 10
    assert schedule.expected(hard) == 10 * ATTACKERS["adversarial-l2"].cost
    for _ in range(2):
        schedule.note(Cell(attacker="usual", network="vgg_small", seed=0, seconds=30))
        assert schedule.expected(usual) == pytest.approx(30)
