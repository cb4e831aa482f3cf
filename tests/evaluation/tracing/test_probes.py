"""Probes: balanced, of one image never twice toward a class, and the same for all keys."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import DatasetError, SettingsError
from monai_advenc.evaluation.tracing.probes import LEVELS, make_probes, plan_probes
from monai_advenc.perturbation.settings import PerturbationSettings

FIVE = ("a", "b", "c", "d", "e")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(0, 60), st.integers(0, 99))
def test_every_class_gets_as_many_probes_of_all_classes_alike(sizes: list[int], more: int, seed: int) -> None:
    classes = FIVE[:1] * len(sizes)
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    count = len(sizes) + more
    plan = plan_probes(labels, classes, count, seed)
    assert 0 < len(plan.rows) <= count
    per_pair = torch.zeros(len(sizes), len(sizes), dtype=torch.int64)
    for row, target in zip(plan.rows.tolist(), plan.toward.tolist(), strict=True):
        per_pair[target, labels[row]] += 1
    assert len(per_pair.sum(dim=1).unique()) == 1
    assert per_pair.max() - per_pair.min() <= 1
    pairs = list(zip(plan.rows.tolist(), plan.toward.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)


def test_where_there_are_enough_images_none_is_used_twice() -> None:
    labels = torch.arange(5).repeat(40)
    plan = plan_probes(labels, FIVE, 100)
    assert len(plan.rows.unique()) == 100


def test_classes_without_images_and_too_few_probes_are_refused() -> None:
    with pytest.raises(DatasetError, match="'e' has no image"):
        plan_probes(torch.tensor([0, 1, 2, 3]), FIVE, 100)
    with pytest.raises(SettingsError, match="at least 5 probes"):
        plan_probes(torch.arange(5), FIVE, 4)


def test_probes_are_changed_by_the_radius_asked_for_and_lie_on_the_grid_of_files(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(10, 1, 32, 32, generator=generator) * 0.4 + 0.3
    originals = ImageSet(images, torch.arange(5).repeat(2), tuple(map(str, range(10))), FIVE)
    steps = PerturbationSettings(radius=0.5, step_size=0.2, steps=8)
    probes = make_probes(network, originals, steps, count=10, strength=3.0)
    again = make_probes(network, originals, steps, count=10, strength=3.0)
    assert torch.equal(probes.images, again.images)
    plan = plan_probes(originals.labels, FIVE, 10)
    lengths = (probes.images - images[plan.rows]).flatten(1).norm(dim=1)
    assert ((lengths > 1.2) & (lengths < 1.51)).all()
    assert torch.allclose(probes.images * LEVELS, (probes.images * LEVELS).round(), atol=0.01)
    assert torch.equal(probes.labels, originals.labels[plan.rows])
    with pytest.raises(SettingsError, match="strength above 0"):
        make_probes(network, originals, steps, strength=0)
