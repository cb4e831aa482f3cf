"""The mark of a recipient's copy: faint, inside the ball, found with the key, and absent from keys without one."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.fft import dctn
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.encryption.encrypt_batch import encrypt_batch, perturb_toward_targets
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.mark import (
    SHARE,
    add_marks,
    carriers,
    content_of,
    draw_mark,
    sign_bytes,
    signs,
    strengths,
)
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.transforms import AdversarialEncrypt, CombineVersions
from tests.conftest import tiny_network

STEPS = PerturbationSettings(radius=1, step_size=0.25, steps=4)


def key_with(mark: float | None, **changes: object) -> EncryptionKey:
    steps = STEPS.model_copy(update=changes)
    return EncryptionKey.draw("abcde", steps, combiner="horizontal-concat", mark=mark, seed=3)


@pytest.fixture
def base() -> nn.Module:
    return prepare(tiny_network(), (1, 32, 32), precision="fp32")


def test_a_key_gets_a_mark_with_its_recipient_and_keeps_it_in_its_file(tmp_path: Path) -> None:
    marked, plain = draw_key(["a", "b"], recipient="Ward 3"), draw_key(["a", "b"])
    assert (marked.mark, plain.mark) == (SHARE, None)
    for name, key in (("marked", marked), ("plain", plain)):
        key.save(tmp_path / name)
        assert EncryptionKey.load(tmp_path / name) == key
    assert b'"mark"' not in (tmp_path / "plain").read_bytes()


def test_a_mark_is_part_of_what_the_public_id_confirms() -> None:
    assert len({key_with(None).key_id, key_with(0.1).key_id, key_with(0.2).key_id}) == 3


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0])
def test_a_mark_is_a_share_of_the_radius(share: float) -> None:
    with pytest.raises(SettingsError, match="mark"):
        key_with(share)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    share=st.floats(0.01, 0.9),
    radius=st.floats(0.01, 3),
    norm=st.sampled_from(["l2", "linf"]),
    shape=st.tuples(st.integers(1, 3), st.integers(16, 40), st.integers(16, 40)),
)
def test_marked_images_stay_in_ball_and_range_and_outside_the_region_keep_every_bit(
    seed: int, share: float, radius: float, norm: str, shape: tuple[int, int, int]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, *shape, generator=generator)
    region = torch.rand(2, 1, *shape[1:], generator=generator) < 0.7
    change = torch.randn(images.shape, generator=generator) * region
    radii = radius * torch.tensor([1.0, 0.5])
    order = 2.0 if norm == "l2" else float("inf")
    length = torch.linalg.vector_norm(change.flatten(1), ord=order, dim=1).clamp_min(1e-9)
    combined = (images + 0.999 * change * (radii / length).reshape(-1, 1, 1, 1)).clamp(0, 1)
    seeds = [bytes([number, *range(31)]) for number in range(2)]
    found = add_marks(combined, images, combined[:, None], seeds, share, radii, norm)
    moved = torch.linalg.vector_norm((found - images).double().flatten(1), ord=order, dim=1)
    assert (moved <= radii.double() * (1 + 1e-6) + 1e-7).all()
    assert found.min() >= 0
    assert found.max() <= 1
    kept = (combined == images).all(dim=1, keepdim=True).expand_as(images)
    assert torch.equal(found[kept], images[kept])
    alone = [
        add_marks(combined[row, None], images[row, None], combined[row, None, None], [each], share, radii[row], norm)
        for row, each in enumerate(seeds)
    ]
    assert torch.equal(found, torch.cat(alone))


def test_a_mark_takes_its_share_of_the_radius() -> None:
    images = 0.3 + 0.4 * torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    none = images + 1e-9 + torch.zeros_like(images)
    versions = (images + 0.01)[:, None]
    found = add_marks(none, images, versions, [b"seed"], 0.2, 1.5, "l2")
    assert abs((found - images).norm().item() - 0.3) < 1e-3


@given(st.integers(16, 90), st.integers(16, 90))
@settings(deadline=None, max_examples=20)
def test_the_waves_of_a_mark_are_5_to_20_pixels_long(height: int, width: int) -> None:
    mark = draw_mark(torch.full((1, height, width), 0.5), b"seed")[0].double().numpy()
    power = dctn(mark, norm="ortho") ** 2
    frequency = np.hypot(np.arange(height)[:, None] / (2 * height), np.arange(width)[None] / (2 * width))
    inside = (frequency >= 1 / 20) & (frequency < 1 / 5)
    assert power[inside].sum() >= (1 - 1e-9) * power.sum()
    assert set(carriers(height, width)) == set(np.flatnonzero(inside))
    assert abs(np.mean(mark**2) - 1) < 1e-5


def test_large_images_do_not_get_ever_more_waves() -> None:
    assert len(carriers(1500, 1500)) == 8192
    assert len(set(carriers(1500, 1500).tolist())) == 8192


def test_signs_are_the_bits_of_shake_128() -> None:
    drawn = signs(b"a seed", 21)
    bits = "".join(f"{byte:08b}" for byte in hashlib.shake_128(b"a seed").digest(3))[:21]
    assert drawn.tolist() == [1.0 if bit == "1" else -1.0 for bit in bits]
    assert len(sign_bytes(b"a seed", 21)) == 3


def test_the_seed_of_a_mark_is_an_hmac_of_the_image_at_16_bits() -> None:
    key, image = key_with(0.2), torch.rand(1, 20, 24, generator=torch.Generator().manual_seed(0))
    content = content_of(image)
    expected = hmac.new(bytes.fromhex(key.layout_secret), b"mark\0" + content, "sha256").digest()
    assert key.mark_seed(content) == expected
    as_file = ((image.double() * 65535).round() / 65535).float()
    assert content_of(as_file) == content
    assert content_of(image + 2 / 65535) != content
    assert content_of(image.reshape(1, 24, 20)) != content


def test_marks_are_stronger_where_there_is_structure() -> None:
    image = np.full((64, 64), 0.4)
    image[:, 32:] += 0.2 * np.random.default_rng(0).random((64, 32))
    found = strengths(image)
    assert found[:, 50:].mean() > 5 * found[:, :14].mean()
    assert found.min() > 0
    assert found.max() < 1


@pytest.mark.parametrize("levels", [None, 255, 65535])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_an_encrypted_image_has_the_mark_of_its_key_and_no_other(
    base: nn.Module, images: Tensor, labels: Tensor, levels: int | None, norm: str
) -> None:
    radius = 1.0 if norm == "l2" else 0.03
    key = key_with(0.3, norm=norm, radius=radius, step_size=radius / 4)
    encrypted = encrypt_batch(key, base, images, labels, levels=levels)
    change = (encrypted - images).double()
    order = 2.0 if norm == "l2" else float("inf")
    assert (torch.linalg.vector_norm(change.flatten(1), ord=order, dim=1) <= radius * (1 + 1e-6)).all()

    def likeness(of: EncryptionKey) -> float:
        marks = torch.stack([draw_mark(image, of.mark_seed(content_of(image))) for image in images]).double()
        return float((marks * change).sum() / marks.norm() / change.norm())

    others = [draw_key(tuple("abcde"), recipient="x") for _ in range(20)]
    assert likeness(key) > 0.15
    # 8 images of about 200 waves: the cosine of another key's mark has a standard deviation of 0.02.
    assert max(abs(likeness(other)) for other in others) < 0.1


def test_a_key_without_mark_gives_the_bytes_it_always_gave(base: nn.Module, images: Tensor, labels: Tensor) -> None:
    plain, marked = key_with(None), key_with(1e-4)
    first = encrypt_batch(plain, base, images, labels)
    assert not torch.equal(first, encrypt_batch(marked, base, images, labels))
    assert torch.equal(
        perturb_toward_targets(plain, base, images, labels), perturb_toward_targets(marked, base, images, labels)
    )


def test_marked_images_are_the_same_alone_in_a_batch_and_through_the_transforms(images: Tensor, labels: Tensor) -> None:
    key, network = key_with(0.2), tiny_network()
    together = encrypt_batch(key, prepare(network, (1, 32, 32)), images, labels, levels=255)
    encrypt, combined = AdversarialEncrypt(network, key), CombineVersions(key, levels=255)
    for row in (0, 5):
        label = int(labels[row])
        assert torch.equal(combined(encrypt(images[row], label), images[row], label), together[row])
