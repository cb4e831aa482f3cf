"""Verdicts on data sets whose right verdict is known beforehand, on real brain-tumor slices."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.regions import body
from monai_advenc.evaluation.division import divide
from monai_advenc.evaluation.measurement import measurements_of
from monai_advenc.evaluation.protection import DEFAULT_VICTIMS, victim_jobs
from monai_advenc.evaluation.verdict import Verdict, judge
from monai_advenc.evaluation.victims import train_victims
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation

pytestmark = pytest.mark.slow  # Each set takes six victims, about a minute on one core.

SIDE, CASES, STEPS = 64, 350, 16


@pytest.fixture(scope="module")
def slices(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], ImageSet]:
    """So many real slices of each class, drawn with a seed."""
    folder = tmp_path_factory.mktemp("slices")
    with tarfile.open(shared_data / "brain-mri-tumors.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    found = find_images(next(folder.rglob("train")))

    def draw(seed: int) -> ImageSet:
        generator = torch.Generator().manual_seed(seed)
        chosen = []
        for label in range(len(found.classes)):
            own = [file for file in found.files if file.label == label]
            chosen += [own[row] for row in torch.randperm(len(own), generator=generator)[:CASES].sort().values.tolist()]
        return load_image_set(replace(found, files=tuple(chosen)), SIDE, gray=True)

    return draw


def base_of(images: ImageSet, seed: int) -> nn.Module:
    network = get_network("resnet_small", len(images.classes), 1, SIDE, seed=seed)
    train_set, validation_set = images.split(0.1, seed)
    return train(network, train_set, validation_set, TrainingSettings(seed=seed)).network


def encrypted(
    images: ImageSet, seed: int, radius: float, *, labels: Tensor | None = None, regions: Tensor | None = None
) -> ImageSet:
    settings = PerturbationSettings(
        radius=radius, step_size=2.5 * radius / STEPS, steps=STEPS, augmentation=Augmentation()
    )
    key = EncryptionKey.draw(images.classes, settings, combiner="basic", seed=seed)
    network = prepare(base_of(images, seed), (1, SIDE, SIDE))
    toward = images.labels if labels is None else labels
    changed = encrypt_batch(key, network, images.images, toward, regions=regions, levels=65535)
    return replace(images, images=changed)


def verdict_of(originals: ImageSet, shared: ImageSet, seed: int) -> Verdict:
    division = divide(originals, shared, 0.2)
    jobs = victim_jobs(division, DEFAULT_VICTIMS, [1000 + seed], None, "cpu")
    return judge([each for result in train_victims(jobs, workers=2) for each in measurements_of(result)])


def unchanged(images: ImageSet, seed: int) -> tuple[ImageSet, ImageSet]:
    return images, images


def with_noise(images: ImageSet, seed: int) -> tuple[ImageSet, ImageSet]:
    """Gaussian noise of the length that an encryption at 38 dB has."""
    noise = torch.randn(images.images.shape, generator=torch.Generator().manual_seed(seed))
    noise *= 0.8 / noise.flatten(1).norm(dim=1)[:, None, None, None]
    return images, replace(images, images=(images.images + noise).clamp(0, 1))


def toward_random_targets(images: ImageSet, seed: int) -> tuple[ImageSet, ImageSet]:
    labels = torch.randint(0, len(images.classes), (len(images),), generator=torch.Generator().manual_seed(seed))
    return images, encrypted(images, seed, 0.8, labels=labels)


def in_padding_only(images: ImageSet, seed: int) -> tuple[ImageSet, ImageSet]:
    small = functional.interpolate(images.images, size=(48, 48), mode="area")
    padded = replace(images, images=functional.pad(small, (8, 8, 8, 8)))
    frame = torch.ones(len(images), 1, SIDE, SIDE, dtype=torch.bool)
    frame[..., 8:-8, 8:-8] = False
    return padded, encrypted(padded, seed, 1.0, regions=frame)


def in_background_only(images: ImageSet, seed: int) -> tuple[ImageSet, ImageSet]:
    outside = torch.stack([~body(image) for image in images.images])
    rows = (outside.float().mean(dim=(1, 2, 3)) > 0.1).nonzero().flatten()
    with_background = images.subset(rows)
    return with_background, encrypted(with_background, seed, 1.0, regions=outside[rows])


def two_classes_exchanged(images: ImageSet, seed: int) -> tuple[ImageSet, ImageSet]:
    """Each image replaced by one of the other class: victims are always wrong, and right after renaming."""
    rows = (images.labels < 2).nonzero().flatten()
    two = replace(images.subset(rows), classes=images.classes[:2])
    own = [(two.labels == label).nonzero().flatten() for label in (1, 0)]
    return two, replace(two, images=two.images[torch.cat(own)])


UNPROTECTED: Sequence[Callable[[ImageSet, int], tuple[ImageSet, ImageSet]]] = (
    unchanged,
    with_noise,
    toward_random_targets,
    in_padding_only,
    in_background_only,
    two_classes_exchanged,
)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("make", UNPROTECTED)
def test_a_set_that_protects_nothing_has_the_verdict_none(
    make: Callable[[ImageSet, int], tuple[ImageSet, ImageSet]], seed: int, slices: Callable[[int], ImageSet]
) -> None:
    found = verdict_of(*make(slices(seed), seed), seed)
    assert found.verdict == "none", found.reason


@pytest.mark.parametrize("seed", [0, 1])
def test_a_set_that_is_encrypted_at_36_decibels_is_protected_or_weak(
    seed: int, slices: Callable[[int], ImageSet]
) -> None:
    images = slices(seed)
    found = verdict_of(images, encrypted(images, seed, 1.0), seed)
    # With three classes the victims' answers are partly right after renaming, which the verdict counts.
    assert found.verdict in ("protected", "weak"), found.reason
    assert found.accuracy is not None
    assert found.clean is not None
    assert found.accuracy < found.clean - 0.15
