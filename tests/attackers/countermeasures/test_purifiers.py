"""Restorers: what they are trained on, and that they bring images nearer to the originals."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings, strategies as st

from monai_advenc.attackers.countermeasures.attacker import Owner
from monai_advenc.attackers.countermeasures.purifiers import blind_spot, paired_inverse, restoration
from monai_advenc.attackers.countermeasures.purifiers.blind_spot import hidden, train_blind_spot
from monai_advenc.attackers.countermeasures.purifiers.denoising_autoencoder import train_denoiser
from monai_advenc.attackers.countermeasures.purifiers.paired_inverse import PairedInverse, own_key, train_inverse
from monai_advenc.attackers.countermeasures.purifiers.restoration import Restorer
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.attackers.countermeasures.planted_sets import SIDE, SIZE, resources, waves, with_patterns
from tests.conftest import tiny_network


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer steps than in an attack."""
    monkeypatch.setattr(restoration.train_restorer, "__defaults__", (80,))


def test_a_restorer_takes_any_size() -> None:
    network = Restorer(3).eval()
    assert network(torch.rand(2, 3, 33, 30)).shape == (2, 3, 33, 30)


def test_the_way_back_reduces_the_distance_to_originals(brief: None) -> None:
    clean, unseen = waves(60, 0), waves(30, 1)
    inverse = train_inverse(with_patterns(clean).images, clean.images, 0, "cpu")
    planted = with_patterns(unseen).images
    before, after = ((each - unseen.images).square().mean() for each in (planted, inverse(planted)))
    assert after < 0.8 * before


def test_denoisers_reduce_noise_without_having_seen_the_image(brief: None) -> None:
    smooth = torch.nn.functional.interpolate(
        torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), SIDE, mode="bilinear"
    )
    noisy = (smooth + 0.1 * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    before = (noisy[30:] - smooth[30:]).square().mean()
    for denoise in (train_blind_spot(noisy[:30], 0, "cpu"), train_denoiser(smooth[:30], 0.2, 0, "cpu")):
        assert (denoise(noisy[30:]) - smooth[30:]).square().mean() < before / 2


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_a_hidden_pixel_is_never_seen(seed: int) -> None:
    images = torch.rand(3, 1, 20, 24, generator=torch.Generator().manual_seed(seed))
    seen, mask = hidden(images, torch.Generator().manual_seed(seed))
    inside = mask[..., blind_spot._REACH : -blind_spot._REACH, blind_spot._REACH : -blind_spot._REACH]
    part = tuple(each[..., 2:-2, 2:-2] for each in (seen, images))
    assert (part[0][inside] != part[1][inside]).all()
    assert torch.equal(seen[~mask], images[~mask])
    assert 0 < mask.float().mean() < 3 * blind_spot.HIDDEN_SHARE


@pytest.mark.parametrize(
    ("pairs", "key", "base"), [("own", "own", "own"), ("true-base", "own", "true"), ("true-key", "true", "true")]
)
def test_pairs_are_made_with_what_the_attacker_has(
    pairs: paired_inverse.Pairs, key: str, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, made = waves(12, 0), []
    ball = PerturbationSettings(radius=1, step_size=0.5, steps=2)
    owner = Owner(EncryptionKey.draw(clean.classes, ball, combiner="basic", seed=1), tiny_network(3))

    def encrypt(key: EncryptionKey, base: torch.nn.Module, images: object) -> torch.Tensor:
        made.append(("true" if key == owner.key else "own", "true" if base is owner.base else "own"))
        return clean.images

    monkeypatch.setattr(paired_inverse, "encrypted_with", encrypt)
    monkeypatch.setattr(paired_inverse, "own_base", lambda *_: tiny_network(3, seed=5))
    monkeypatch.setattr(paired_inverse, "train_inverse", lambda *_: lambda images: images)
    PairedInverse(pairs).inverse(resources(clean=clean, owner=None if pairs == "own" else owner), 0)
    assert made == [(key, base)]


def heads(count: int) -> ImageSet:
    """Bright squares on a black background, which covers most of each image."""
    images = torch.zeros(count, 1, SIDE, SIDE)
    images[:, :, 10:22, 10:22] = torch.linspace(0.4, 1, count)[:, None, None, None]
    return replace(waves(count, 0), images=images)


@settings(max_examples=6, deadline=None)
@given(constant=st.sets(st.integers(0, 8)), gray=st.floats(0, 1, width=32))
def test_pairs_of_the_error_minimizing_family_are_made_without_constant_images(constant: set[int], gray: float) -> None:
    clean = heads(12)  # Rows 9 to 11, one of each class, are never constant.
    clean.images[list(constant)] = gray
    made: list[tuple[torch.Tensor, torch.Tensor]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paired_inverse, "train", lambda network, *_, **__: SimpleNamespace(network=network))
        patch.setattr(paired_inverse, "new_network", lambda *_: tiny_network(3))
        patch.setattr(paired_inverse, "OWN_STEPS", 1)
        patch.setattr(paired_inverse, "train_inverse", lambda *pair: made.append(pair[:2]))
        PairedInverse("minimizing").inverse(resources(clean=clean), 0)
    [(changed, originals)] = made
    assert changed.shape == originals.shape
    assert not (changed == originals).flatten(1).all(dim=1).any()
    expected = [image for row, image in enumerate(clean.images) if row not in constant]
    assert {image.numpy().tobytes() for image in originals} == {image.numpy().tobytes() for image in expected}


def test_an_attacker_whose_own_images_are_constant_says_why_it_cannot_run() -> None:
    clean = heads(12)
    clean.images[::3] = 0.25  # All of class a.
    with pytest.raises(SettingsError, match="those of class 'a' are all constant; leave constant images out"):
        PairedInverse("minimizing").inverse(resources(clean=clean), 0)


def test_an_own_key_has_the_stated_radius_and_the_owners_combiner_where_that_is_known() -> None:
    images = replace(waves(12, 0), classes=("a", "b", "c"))
    assert own_key(images, SIZE, None, 0).perturbation.radius == SIZE
    assert own_key(images, SIZE, None, 0).correspondence.num_targets == 1
    settings = PerturbationSettings(radius=1, step_size=0.5, steps=2)
    owner = Owner(EncryptionKey.draw(images.classes, settings, combiner="horizontal-concat", seed=1))
    drawn = own_key(images, SIZE, owner, 0)
    assert drawn.combiner.name == "horizontal-concat"
    assert drawn.key_id != owner.key.key_id
