"""The radius by an image's own noise: quiet images change less, and none by more than the noise allows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from monai_advenc import EncryptImage, EncryptionInferer
from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.writing import encode_image
from monai_advenc.data.manifest import Manifest
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.noise import noise_in_body
from monai_advenc.encryption.profiles import KeyOptions, draw_key, radius_of_psnr
from monai_advenc.encryption.radius import radius_shares
from monai_advenc.encryption.regions import body
from monai_advenc.errors import ImageError, SettingsError
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.settings import ScheduleName
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.options import EncryptionOptions
from tests.conftest import tiny_network

SIDE = 32


def noisy(deviations: list[float], channels: int = 1, seed: int = 0) -> Tensor:
    """Gray disks on black with noise of these standard deviations inside."""
    row, column = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    disk = np.hypot(row, column) < 13
    generator = np.random.default_rng(seed)
    images = [np.where(disk, 0.5 + generator.normal(0, each, (channels, SIDE, SIDE)), 0) for each in deviations]
    return torch.from_numpy(np.stack(images).clip(0, 1)).float()


def settings_of(noise: float | None, radius: float = 2.0, schedule: ScheduleName = "paper") -> PerturbationSettings:
    return PerturbationSettings(
        radius=radius, step_size=radius / 2, steps=5, schedule=schedule, reference_side=SIDE, noise=noise
    )


@settings(max_examples=20, deadline=None)
@given(
    deviations=st.lists(st.floats(0.01, 0.08), min_size=2, max_size=4),
    multiple=st.floats(0.3, 2),
    channels=st.sampled_from([1, 3]),
    inside=st.booleans(),
    combiner=st.sampled_from(["basic", "horizontal-concat", "mixup-and-concat"]),
)
def test_no_image_changes_by_more_than_the_multiple_of_its_own_noise_or_the_radius(
    deviations: list[float], multiple: float, channels: int, inside: bool, combiner: str
) -> None:
    images = noisy(deviations, channels)
    regions = torch.stack([body(image) for image in images]) if inside else None
    key = EncryptionKey.draw("abcde", settings_of(multiple), combiner=combiner, seed=1)
    network, labels = (
        prepare(tiny_network(channels=channels), (channels, SIDE, SIDE), precision="fp32"),
        torch.arange(len(images)),
    )
    scales = radius_shares(key.perturbation, images, regions)
    encrypted = encrypt_batch(key, network, images, labels, regions=regions, scales=scales, levels=65535)
    for image, original in zip(encrypted.double(), images.double(), strict=True):
        free = np.ones((SIDE, SIDE), bool) if not inside else np.asarray(body(original.float())[0])
        change = (image - original).numpy()[:, free]
        within = np.asarray(body(original.float())[0])
        noise = float(np.mean([noise_by_hand(channel, within) for channel in original.numpy()]))
        most = min(multiple * noise, 2 / SIDE / math.sqrt(channels))
        assert 0.2 * most < math.sqrt(np.square(change).mean()) <= most * (1 + 1e-4)


def noise_by_hand(pixels: np.ndarray, inside: np.ndarray) -> float:
    """Median of the absolute diagonal differences of blocks of four pixels that lie inside, as a standard deviation."""
    found = []
    for row in range(0, SIDE, 2):
        for column in range(0, SIDE, 2):
            if inside[row : row + 2, column : column + 2].all():
                (a, b), (c, d) = pixels[row : row + 2, column : column + 2]
                found.append(abs(a - b - c + d) / 2)
    return float(np.median(found)) / 0.6745


def test_an_image_changes_alone_as_in_a_batch_and_as_by_transform_and_inferer() -> None:
    images, labels = noisy([0.02, 0.05, 0.03]), torch.tensor([0, 1, 2])
    key, network = EncryptionKey.draw("abc", settings_of(1.0), combiner="basic", seed=2), tiny_network(3)
    ready = prepare(network, (1, SIDE, SIDE), precision="fp32")
    together = encrypt_batch(key, ready, images, labels, scales=radius_shares(key.perturbation, images, None))
    for row in range(3):
        image = images[row : row + 1]
        alone = encrypt_batch(
            key, ready, image, labels[row : row + 1], scales=radius_shares(key.perturbation, image, None)
        )
        assert torch.equal(alone[0], together[row])
        transformed = EncryptImage(network, key, precision="fp32")(images[row], int(labels[row]))
        assert torch.equal(torch.as_tensor(transformed), together[row])
    inferred = EncryptionInferer(key, precision="fp32")(images, network, target=labels)
    assert torch.equal(torch.as_tensor(inferred), together)


def test_an_image_without_noise_is_refused_in_words() -> None:
    for images in (noisy([0.0]), torch.full((1, 1, SIDE, SIDE), 0.3)):
        with pytest.raises(ImageError, match=r"shows no noise.*--noise"):
            radius_shares(settings_of(1.0), images, None)


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.1, 1), deviation=st.floats(0.01, 0.05), inside=st.booleans())
def test_pixels_that_never_change_take_no_part_of_the_change(share: float, deviation: float, inside: bool) -> None:
    """The ends of a DICOM window, such as air: they cost no radius, but the others must not move the further."""
    image = noisy([deviation])
    region = torch.stack([body(image[0])]) if inside else torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool)
    free = region & (torch.rand(region.shape, generator=torch.Generator().manual_seed(0)) < share)
    found = radius_shares(settings_of(1.0, radius=20), image, region if inside else None, free=free)
    assert found is not None
    length, pixels = float(found) * 20, int(free.sum())
    assert length / math.sqrt(pixels) == pytest.approx(noise_in_body(image[0]), rel=1e-9)


def test_a_key_without_noise_is_as_it_was_and_one_with_it_has_another_id() -> None:
    plain, noise = (EncryptionKey.draw("abc", settings_of(each), combiner="basic", seed=3) for each in (None, 1.0))
    assert "noise" not in plain.model_dump_json()
    assert '"noise":1.0' in noise.model_dump_json()
    assert plain.key_id != noise.key_id


@settings(deadline=None)
@given(decibels=st.floats(10, 100), side=st.integers(8, 2000))
def test_the_radius_of_a_psnr_leaves_at_least_that_psnr(decibels: float, side: int) -> None:
    found = -20 * math.log10(radius_of_psnr(decibels, side) / side)
    assert decibels - 1e-9 <= found < decibels + 0.09


def test_a_psnr_is_another_word_for_the_radius() -> None:
    assert draw_key(list("abc"), psnr_at_least=44, seed=1).perturbation.radius == pytest.approx(2.01)
    assert draw_key(list("abc"), noise=1, seed=1).perturbation.radius == pytest.approx(320 * 10**-1.8, rel=0.01)
    assert draw_key(list("abc"), noise=1, radius=3, seed=1).perturbation.radius == 3
    assert KeyOptions().radius == 2
    with pytest.raises(SettingsError, match="give one of them"):
        KeyOptions(radius=2, psnr_at_least=40)
    with pytest.raises(SettingsError, match="give --radius-at"):
        KeyOptions(radius_at=0, psnr_at_least=40)
    with pytest.raises(SettingsError, match="root mean square"):
        PerturbationSettings(norm="linf", radius=1, step_size=1, steps=1, noise=1)


def test_files_change_by_the_noise_and_a_later_run_gives_the_same_bytes(tmp_path: Path) -> None:
    images = noisy([0.02, 0.05, 0.03, 0.04])
    for row, image in enumerate(images):
        path = tmp_path / "originals" / "ab"[row % 2] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(image, "png16", None))
    key = draw_key(list("ab"), noise=1, psnr_at_least=24, radius_at=SIDE, steps=5, profile="paper-basic", seed=1)
    written = []
    for name in ("first", "second"):
        encrypt_images(
            find_images(tmp_path / "originals"), tmp_path / name, key, tiny_network(2), EncryptionOptions(workers=0)
        )
        written.append(load_image_set(find_images(tmp_path / name)))
    assert torch.equal(written[0].images, written[1].images)
    originals = load_image_set(find_images(tmp_path / "originals"))
    changes = (written[0].images.double() - originals.images.double()).square().mean(dim=(1, 2, 3)).sqrt()
    noise = torch.tensor([noise_in_body(image) for image in originals.images])
    assert (changes <= noise * (1 + 1e-4)).all()
    assert (changes > noise / 2).all()
    assert Manifest.load(tmp_path / "first").images[0].l2 is not None
