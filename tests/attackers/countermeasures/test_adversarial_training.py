"""Adversarial training: perturbations stay in the ball and raise the loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from monai_advenc.attackers.countermeasures.adversarial_training import AdversarialTraining, Norm, WorstCase
from monai_advenc.errors import SettingsError
from tests.attackers.countermeasures.planted_sets import resources, waves
from tests.conftest import tiny_network


@settings(max_examples=20, deadline=None)
@given(norm=st.sampled_from(["l2", "linf"]), radius=st.floats(0.01, 2), seed=st.integers(0, 99))
def test_perturbations_lie_in_the_ball_and_in_the_range_and_raise_the_loss(
    norm: Norm, radius: float, seed: int
) -> None:
    images = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
    labels, network = torch.arange(6) % 5, tiny_network(seed=seed)
    worst = WorstCase(norm, radius).worst(network, images, labels, torch.Generator().manual_seed(seed))
    change = (worst - images).flatten(1).double()
    length = change.norm(dim=1) if norm == "l2" else change.abs().amax(dim=1)
    assert (length <= radius * (1 + 1e-4)).all()
    assert worst.min() >= 0
    assert worst.max() <= 1
    with torch.no_grad():
        before, after = (functional.cross_entropy(network(each), labels) for each in (images, worst))
    assert after > before


def test_without_a_radius_there_is_no_adversarial_training() -> None:
    with pytest.raises(SettingsError, match="radius"):
        AdversarialTraining("l2", 1)(waves(6, 0), resources(radius=None), 0)
