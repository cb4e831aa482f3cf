"""What all attackers have in common: names, knowledge, observation, reproducibility."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.attackers.countermeasures import ATTACKERS
from monai_advenc.attackers.countermeasures.attacker import Attacker, Filtered, Knowledge, Resources, learn
from monai_advenc.attackers.countermeasures.dilution import Layers, fine_tune
from monai_advenc.attackers.countermeasures.equipment import equip
from monai_advenc.attackers.countermeasures.plain_training import usual
from monai_advenc.networks.features import last_linear
from monai_advenc.networks.training import TrainingSettings
from tests.attackers.countermeasures.planted_sets import resources, waves, with_patterns

ORIGINALS = waves(60, 0)


def brief(**changes: object) -> Resources:
    return resources(training=TrainingSettings(epochs=1, batch_size=32), **changes)


def asking_for(**known: float) -> Attacker:
    return Attacker(name="a", title="a", attack=usual, knowledge=Knowledge(**known))  # type: ignore[arg-type]


def test_each_attacker_stands_under_its_name_and_its_baseline_has_the_same_clean_images() -> None:
    for name, attacker in ATTACKERS.items():
        assert attacker.name == name
        assert attacker.cost > 0
        if attacker.knowledge.clean and not (attacker.detects or name.endswith("-alone")):
            assert attacker.alone is not None
            assert ATTACKERS[attacker.alone].knowledge == Knowledge(clean=attacker.knowledge.clean)


def test_own_clean_images_are_not_among_the_encrypted_ones() -> None:
    encrypted = with_patterns(ORIGINALS)
    left, found = equip(asking_for(clean=0.2), encrypted, ORIGINALS, brief(), 0)
    assert found.clean is not None
    assert set(found.clean.ids).isdisjoint(left.ids)
    assert set(found.clean.ids) | set(left.ids) == set(ORIGINALS.ids)
    assert torch.equal(found.clean.images, ORIGINALS.with_ids(found.clean.ids).images)
    assert torch.equal(left.images, encrypted.with_ids(left.ids).images)
    assert len(found.clean) == 12


def test_own_images_of_known_patients_are_of_other_patients() -> None:
    patients = tuple(f"p{row // 3}" for row in range(60))
    known = replace(ORIGINALS, patients=patients)
    left, found = equip(asking_for(clean=0.2), with_patterns(known), known, brief(), 0)
    assert found.clean is not None
    assert set(found.clean.patients or ()).isdisjoint(left.patients or ())


def test_however_small_the_share_two_images_of_each_class_are_there() -> None:
    _, found = equip(asking_for(clean=0.001), ORIGINALS, ORIGINALS, brief(), 0)
    assert found.clean is not None
    assert found.clean.labels.bincount().tolist() == [2, 2, 2]


def test_an_attacker_gets_nothing_that_it_is_not_said_to_know() -> None:
    _, found = equip(asking_for(), ORIGINALS, ORIGINALS, brief(clean=ORIGINALS, other=ORIGINALS), 0)
    assert (found.clean, found.other, found.owner, found.radius) == (None, None, None, None)
    _, found = equip(asking_for(method=True), ORIGINALS, ORIGINALS, brief(), 0)
    assert found.radius == brief().radius


def test_the_same_seed_gives_the_attacker_and_its_baseline_the_same_images() -> None:
    ids = []
    for name in ("clean-5-mixed", "clean-5-alone"):
        own = equip(ATTACKERS[name], ORIGINALS, ORIGINALS, brief(), 4)[1].clean
        assert own is not None
        ids.append(own.ids)
    assert ids[0] == ids[1]


def test_each_epoch_is_observed_and_the_network_is_the_last() -> None:
    seen: list[Tensor] = []

    def observe(network: nn.Module) -> None:
        assert not network.training
        with torch.no_grad():
            seen.append(network(ORIGINALS.images[:5]))

    training = TrainingSettings(epochs=2, batch_size=32)
    network = learn(ORIGINALS, resources(training=training, observe=observe), 0)
    assert len(seen) == 2
    with torch.no_grad():
        assert torch.equal(seen[-1], network(ORIGINALS.images[:5]))


def test_an_attack_is_repeatable_and_keeps_the_random_state() -> None:
    before = torch.random.get_rng_state()
    first, second = (usual(ORIGINALS, brief(), 3) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


@dataclass(frozen=True)
class Inverted:
    """Exchange dark and bright."""

    def __call__(self, images: Tensor) -> Tensor:
        return 1 - images


def test_a_filter_works_on_images_to_classify_too() -> None:
    network = learn(ORIGINALS, brief(), 0, image_filter=Inverted())
    assert isinstance(network, Filtered)
    with torch.no_grad():
        assert torch.equal(network(ORIGINALS.images), network.network(1 - ORIGINALS.images))


@pytest.mark.parametrize("layers", ["all", "last", "first"])
def test_fine_tuning_changes_the_layers_that_it_says(layers: Layers) -> None:
    victim = usual(ORIGINALS, brief(), 0)
    tuned = fine_tune(victim, waves(12, 5), brief(), 0, layers)
    last = {id(parameter) for parameter in last_linear(victim).parameters()}
    for before, after in zip(victim.parameters(), tuned.parameters(), strict=True):
        is_last = id(before) in last
        assert torch.equal(before, after) != (layers == "all" or is_last == (layers == "last"))
