"""Augmentations against perturbations do what their recipes say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from monai_advenc.attackers.countermeasures.augmentation import CutMix, Cutout, Hardest, Mixup, StrongViews, clouds
from tests.conftest import tiny_network


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 6, seed: int = 1) -> torch.Tensor:
    return 0.1 + 0.9 * torch.rand(count, 1, 32, 32, generator=draws(seed))


@given(seed=st.integers(0, 500))
def test_cutout_blackens_one_rectangle_of_at_most_its_size(seed: int) -> None:
    before = images()
    after = Cutout(0.5).changed(before, draws(seed))
    for image, changed in zip(before, after, strict=True):
        hole = (changed == 0)[0]
        rows, columns = hole.any(dim=1).nonzero(), hole.any(dim=0).nonzero()
        assert len(rows) * len(columns) == hole.sum() <= 16 * 16
        assert hole.sum() >= 8 * 8
        assert torch.equal(changed[:, ~hole], image[:, ~hole])


@given(seed=st.integers(0, 500))
def test_cutmix_pastes_a_rectangle_and_tells_what_is_left(seed: int) -> None:
    before = images()
    others = before[torch.arange(6).roll(1)]
    after, share = CutMix().changed(before, others, draws(seed))
    pasted = after == others
    assert share == pytest.approx(1 - float(pasted.float().mean()), abs=1e-6)
    assert torch.equal(after[~pasted], before[~pasted])


def test_mixed_labels_count_by_their_shares() -> None:
    network, batch, labels = tiny_network(), images(), torch.arange(6) % 5
    logits, loss = Mixup()(network, batch, labels, draws(7))
    again = draws(7)
    share, order = float(torch.rand(1, generator=again)), torch.randperm(6, generator=again)
    mixed = share * batch + (1 - share) * batch[order]
    assert torch.allclose(logits, network(mixed))
    truth = share * functional.one_hot(labels, 5) + (1 - share) * functional.one_hot(labels[order], 5)
    expected = -(truth * logits.log_softmax(dim=1)).sum(dim=1).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@given(seed=st.integers(0, 500), least=st.floats(0.1, 1), jitter=st.floats(0, 0.5))
def test_strong_views_stay_in_the_range_and_differ_between_images(seed: int, least: float, jitter: float) -> None:
    batch = images(1).expand(4, -1, -1, -1)
    views = StrongViews(least, jitter).changed(batch, draws(seed))
    assert views.shape == batch.shape
    assert views.min() >= 0
    assert views.max() <= 1
    assert len({view.sum().item() for view in views}) > 1


def test_a_view_of_all_the_image_without_jitter_is_the_image_or_its_mirror() -> None:
    batch = torch.full((8, 1, 16, 16), 0.5)
    assert torch.allclose(StrongViews(1.0, 0.0).changed(batch, draws()), batch, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99))
def test_the_hardest_of_several_is_no_easier_than_each(seed: int) -> None:
    network, batch, labels = tiny_network(), images(), torch.arange(6) % 5
    chosen = Hardest(tries=4).changed(network, batch, labels, draws(seed))
    again, hardest = draws(seed), Hardest(tries=4)
    tried = [hardest._one(batch, again) for _ in range(4)]
    with torch.no_grad():
        losses = [functional.cross_entropy(network(each), labels, reduction="none") for each in (chosen, *tried)]
    assert torch.allclose(losses[0], torch.stack(losses[1:]).amax(dim=0), atol=1e-5)


def test_clouds_are_smooth_and_fill_their_range() -> None:
    field = clouds(torch.zeros(3, 1, 64, 64), draws())
    assert field.amin(dim=(1, 2, 3)).tolist() == [0, 0, 0]
    assert field.amax(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1, 1])
    assert (field[..., 1:] - field[..., :-1]).abs().max() < 0.25
