from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.encryption import encrypt_batch as encryption
from monai_advenc.encryption.combiners import COMBINERS
from monai_advenc.encryption.draws import Draws
from monai_advenc.encryption.encrypt_batch import combine_versions, encrypt_batch, perturb_toward_targets
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import DatasetError
from monai_advenc.perturbation.batch_size import BATCH_SIZE
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation, draw_moves
from tests.conftest import tiny_network


def make_key(
    combiner: str = "horizontal-concat",
    *,
    augmented: bool = True,
    radius: float = 1.0,
    norm: Literal["l2", "linf"] = "l2",
) -> EncryptionKey:
    perturbation = PerturbationSettings(
        norm=norm,
        radius=radius,
        step_size=radius / 4,
        steps=6,
        augmentation=Augmentation() if augmented else None,
    )
    return EncryptionKey.draw("abcde", perturbation, combiner=combiner, seed=1)


@pytest.fixture
def base() -> nn.Module:
    return prepare(tiny_network(), (1, 32, 32), precision="fp32")


@pytest.mark.parametrize("levels", [None, 255, 65535])
@pytest.mark.parametrize("combiner", COMBINERS)
def test_alone_in_a_batch_and_in_any_order_the_same_bytes(
    base: nn.Module, images: Tensor, labels: Tensor, combiner: str, levels: int | None
) -> None:
    key = make_key(combiner)
    together = encrypt_batch(key, base, images, labels, levels=levels)
    alone = [
        encrypt_batch(key, base, image[None], label[None], levels=levels)
        for image, label in zip(images, labels, strict=True)
    ]
    assert torch.equal(together, torch.cat(alone))
    order = torch.tensor([7, 2, 5, 0, 1, 6, 3, 4])
    assert torch.equal(encrypt_batch(key, base, images[order], labels[order], levels=levels), together[order])


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_does_not_matter(base: nn.Module, images: Tensor, labels: Tensor, threads: int) -> None:
    key, before = make_key(), torch.get_num_threads()
    expected = encrypt_batch(key, base, images, labels)
    torch.set_num_threads(threads)
    try:
        assert torch.equal(encrypt_batch(key, base, images, labels), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("combiner", COMBINERS)
def test_every_image_stays_within_the_radius(base: nn.Module, images: Tensor, labels: Tensor, combiner: str) -> None:
    for levels in (None, 255):
        encrypted = encrypt_batch(make_key(combiner), base, images, labels, levels=levels)
        assert ((encrypted.double() - images.double()).flatten(1).norm(dim=1) <= 1 + 1e-6).all()
        assert (encrypted != images).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("levels", [None, 255])
@pytest.mark.parametrize("combiner", COMBINERS)
def test_every_image_uses_its_whole_ball_in_linf(
    base: nn.Module, images: Tensor, labels: Tensor, combiner: str, levels: int | None
) -> None:
    encrypted = encrypt_batch(make_key(combiner, norm="linf", radius=0.1), base, images, labels, levels=levels)
    largest = (encrypted.double() - images.double()).flatten(1).abs().amax(dim=1)
    assert (largest <= 0.1).all()
    assert (largest > 0.08).all()


@pytest.mark.parametrize("levels", [None, 65535])
@pytest.mark.parametrize("reference_side", [16, 64])
def test_the_radius_is_that_of_the_images_size_to_the_end(
    base: nn.Module, images: Tensor, labels: Tensor, reference_side: int, levels: int | None
) -> None:
    radius = 32 / reference_side
    settings = PerturbationSettings(radius=1, step_size=0.5, steps=8, reference_side=reference_side)
    key = EncryptionKey.draw("abcde", settings, combiner="basic", seed=1)
    encrypted = encrypt_batch(key, base, images, labels, levels=levels)
    length = (encrypted.double() - images.double()).flatten(1).norm(dim=1)
    assert (length <= radius).all()
    assert (length > 0.9 * radius).all()


def test_each_version_goes_toward_its_own_target(base: nn.Module, images: Tensor, labels: Tensor) -> None:
    key = make_key(augmented=False, radius=4.0)
    versions = perturb_toward_targets(key, base, images, labels)
    targets = key.correspondence.targets_of(labels)
    before = base(images).softmax(dim=1)
    for slot in range(2):
        after = base(versions[:, slot]).softmax(dim=1)
        target = targets[:, slot, None]
        assert (after.gather(1, target) > before.gather(1, target)).all()


def test_each_version_has_random_views_of_its_own(
    base: nn.Module, images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def note(network: nn.Module, stream: Tensor, *rest: Any, moves: Tensor, **options: Any) -> Tensor:
        seen.extend(moves)
        return stream

    monkeypatch.setattr(encryption, "perturb_in_batches", note)
    key = make_key()
    key = key.model_copy(update={"perturbation": key.perturbation.model_copy(update={"steps": 20})})
    assert key.perturbation.augmentation is not None
    perturb_toward_targets(key, base, images, labels)
    assert len({each.numpy().tobytes() for each in seen}) == len(seen) == 2 * len(images)
    for slot in range(2):
        seeds = key.image_seeds(f"views {slot}", images)
        assert torch.equal(torch.stack(seen[slot::2]), draw_moves(key.perturbation.augmentation, seeds, 20, (32, 32)))


@pytest.mark.parametrize("combiner", ["horizontal-concat", "random-square"])
def test_what_was_drawn_ahead_for_each_image_gives_the_same_bytes(
    base: nn.Module, images: Tensor, labels: Tensor, combiner: str
) -> None:
    key = make_key(combiner)
    ahead = Draws.joined([Draws.of(key, image[None]) for image in images])
    expected = encrypt_batch(key, base, images, labels, levels=255)
    assert torch.equal(encrypt_batch(key, base, images, labels, levels=255, draws=ahead), expected)


@pytest.mark.parametrize("combiner", ["cutmix", "random-square"])
def test_the_pasted_part_lies_where_the_secret_and_the_original_say(combiner: str) -> None:
    key = make_key(combiner)
    images = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(5)) * 0.5 + 0.25

    def pasted(key: EncryptionKey, first: float = 0.0) -> Tensor:
        versions = torch.stack([images - first, images + 0.001], dim=1)
        return combine_versions(key, images, versions, torch.zeros(6, dtype=torch.int64)) > images

    places = pasted(key)
    assert len({place.numpy().tobytes() for place in places}) > 3
    assert torch.equal(pasted(key, first=0.002), places)
    assert not torch.equal(pasted(key.model_copy(update={"layout_secret": "0" * 64})), places)


def test_encrypting_is_perturbing_then_combining(base: nn.Module, images: Tensor, labels: Tensor) -> None:
    key = make_key()
    versions = perturb_toward_targets(key, base, images, labels)
    combined = combine_versions(key, images, versions, labels, levels=65535)
    assert torch.equal(combined, encrypt_batch(key, base, images, labels, levels=65535))


def test_two_keys_give_two_different_copies(base: nn.Module, images: Tensor, labels: Tensor) -> None:
    key = make_key()
    other = EncryptionKey.draw("abcde", key.perturbation, seed=2)
    assert not torch.equal(encrypt_batch(key, base, images, labels), encrypt_batch(other, base, images, labels))


def test_regions_hold_through_combining_and_rounding(base: nn.Module, images: Tensor, labels: Tensor) -> None:
    images = (images * 255).round() / 255
    regions = torch.zeros(8, 1, 32, 32, dtype=torch.bool)
    for row in range(8):  # Each image has its own.
        regions[row, :, 4 * row : 4 * row + 4] = True
    for combiner in COMBINERS:
        encrypted = encrypt_batch(make_key(combiner), base, images, labels, regions=regions, levels=65535)
        assert torch.equal(encrypted[~regions], images[~regions])
        assert ((encrypted != images) & regions).flatten(1).any(dim=1).all()


def test_files_on_their_own_grid_get_whole_units_and_keep_the_rest(
    base: nn.Module, images: Tensor, labels: Tensor
) -> None:
    units = torch.tensor([1 / 4095, 1 / 1000] * 4, dtype=torch.float64)
    integers = (images.double() / units[:, None, None, None]).round()
    images = (integers * units[:, None, None, None]).float()
    regions = torch.zeros(8, 1, 32, 32, dtype=torch.bool)
    regions[..., 4:28, 4:28] = True
    for combiner in COMBINERS:
        encrypted = encrypt_batch(make_key(combiner), base, images, labels, regions=regions, unit=units)
        steps = encrypted.double() / units[:, None, None, None]
        assert (steps - steps.round()).abs().max() < 1e-3
        assert torch.equal(encrypted[~regions], images[~regions])
        assert (encrypted != images).flatten(1).any(dim=1).all()
        assert ((encrypted.double() - images.double()).flatten(1).norm(dim=1) <= 1).all()


def test_no_images_give_no_images(base: nn.Module) -> None:
    empty = encrypt_batch(make_key(), base, torch.empty(0, 1, 32, 32), torch.empty(0, dtype=torch.int64), levels=255)
    assert empty.shape == (0, 1, 32, 32)


@pytest.mark.parametrize("label", [-1, 5])
def test_a_label_without_a_class_is_refused(base: nn.Module, images: Tensor, label: int) -> None:
    labels = torch.tensor([0, 1, 2, 3, 4, label, 0, 1])
    with pytest.raises(DatasetError, match="labels 0 to 4"):
        encrypt_batch(make_key(), base, images, labels)
    with pytest.raises(DatasetError, match="labels 0 to 4"):
        combine_versions(make_key(), images, images[:, None].repeat(1, 2, 1, 1, 1), labels)


@pytest.mark.parametrize("size", [BATCH_SIZE, 3])
def test_the_network_gets_batches_of_the_size_asked_for(images: Tensor, labels: Tensor, size: int) -> None:
    sizes = set()

    class Counting(nn.Sequential):
        def forward(self, images: Tensor) -> Tensor:
            sizes.add(len(images))
            logits: Tensor = super().forward(images)
            return logits

    encrypt_batch(make_key(), Counting(tiny_network()).eval(), images, labels, batch_size=size)
    assert sizes == {size}


def test_colors_are_perturbed_like_grays(labels: Tensor) -> None:
    images = torch.rand(8, 3, 32, 32)
    base = prepare(tiny_network(channels=3), (3, 32, 32))
    encrypted = encrypt_batch(make_key("mixup-and-concat"), base, images, labels, levels=255)
    assert encrypted.shape == images.shape
    assert ((encrypted.double() - images.double()).flatten(1).norm(dim=1) <= 1 + 1e-6).all()
