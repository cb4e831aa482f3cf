# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Accuracies on images that were trained on are refused or said to be too high, whatever the images are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from monai_advenc import EncryptionOptions, TrainingSettings, draw_key, encrypt_folder, evaluate, train_base
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.writing import SLICE_FORMATS, encode_image
from monai_advenc.errors import SanityError
from monai_advenc.sharing.verify import verify
from tests.integration.test_python import Told

CLASSES = ("bright", "dark")
ONE_EPOCH = TrainingSettings(epochs=1)


def pictures(count: int, seed: int) -> torch.Tensor:
    """Of two classes in turn, one of them brighter."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.2 + 0.1 * torch.rand(count, 1, 32, 32, generator=generator)
    images[1::2] += 0.5
    return (images * 255).round() / 255


def write(folder: Path, images: torch.Tensor, names: list[str], file_format: str = "png8") -> Path:
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        place = folder / CLASSES[row % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}{SLICE_FORMATS[file_format]}").write_bytes(encode_image(image, file_format))
    return folder


def test_a_base_network_says_that_images_kept_aside_were_trained_on(tmp_path: Path) -> None:
    # Each picture twice, under two names: half of the way through the folder they begin again.
    twice = torch.cat([pictures(30, 0)] * 2)
    images = ImageSet(twice, torch.arange(60) % 2, tuple(f"i{row:02}" for row in range(60)), CLASSES)
    kept_aside = [int(name[1:]) for name in images.split(0.2, 0)[1].ids]
    trained_on = {row % 30 for row in range(60) if row not in kept_aside}
    expected = sum(row % 30 in trained_on for row in kept_aside)
    assert expected
    told = Told()
    trained = train_base(images, tmp_path / "base.pt", settings=ONE_EPOCH, validation=0.2, progress=told)
    (warning,) = (line for line in trained.warnings if "pixels" in line)
    assert f"{expected} of {len(kept_aside)} validation images have the pixels of a training image" in warning
    assert warning in told.lines


def test_a_base_network_is_not_tested_on_what_it_was_trained_on(tmp_path: Path) -> None:
    originals = write(tmp_path / "train", pictures(60, 0), [f"i{row:02}" for row in range(60)])
    others = pictures(6, 1)
    others[3] = pictures(60, 0)[41]
    test = write(tmp_path / "test", others, [f"i{row:02}" for row in range(6)], "nifti")
    with pytest.raises(SanityError, match=r"1 of 6 test images are in both.*'i41' and 'i03'"):
        train_base(originals, tmp_path / "base.pt", settings=ONE_EPOCH, test=test, progress=Told())
    assert not (tmp_path / "base.pt").exists()
    write(tmp_path / "test", pictures(6, 1), [f"i{row:02}" for row in range(6)], "nifti")
    trained = train_base(originals, tmp_path / "base.pt", settings=ONE_EPOCH, test=test, progress=Told())
    assert trained.test_accuracy is not None
    assert not any("share" in line for line in trained.warnings)


def test_victims_are_not_tested_on_the_originals_of_what_they_were_trained_on(tmp_path: Path) -> None:
    originals = write(tmp_path / "train", pictures(60, 0), [f"i{row:02}" for row in range(60)])
    base = train_base(originals, tmp_path / "base.pt", settings=TrainingSettings(epochs=4), progress=Told()).path
    key = tmp_path / "key.json"
    draw_key(CLASSES, profile="paper-basic", steps=2).save(key)
    options = EncryptionOptions(formats=("png8",), workers=0)
    encrypt_folder(originals, tmp_path / "shared", key=key, base=base, options=options, progress=Told())

    def compare(name: str, images: torch.Tensor, told: Told) -> Any:
        names = [f"i{row:02}" for row in range(len(images))]
        test, encrypted = write(tmp_path / name, images, names), tmp_path / f"{name} encrypted"
        encrypt_folder(test, encrypted, key=key, base=base, options=options, progress=Told())
        return evaluate(
            originals,
            tmp_path / "shared",
            tmp_path / f"{name} evaluation",
            victims=["vgg_small"],
            epochs=4,
            test_originals=test,
            test_encrypted=encrypted,
            workers=0,
            progress=told,
        )

    others = pictures(20, 1)
    told = Told()
    assert compare("test", others, told).rows
    assert not any(" share " in line for line in told.lines)
    others[2] = pictures(60, 0)[50]
    with pytest.raises(SanityError, match=r"1 of 20 test images are in both.*'i50' and 'i02'"):
        compare("leaking", others, Told())


def test_classes_and_sets_that_number_their_images_alike_are_trained_on_encrypted_and_checked(tmp_path: Path) -> None:
    """As exports of MedMNIST, CIFAR and ImageFolder do."""
    for part, count, seed in (("train", 60, 0), ("test", 12, 1)):
        for row, image in enumerate(pictures(count, seed)):
            path = tmp_path / part / CLASSES[row % 2] / f"{row // 2:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_image(image, "png8"))
    train, key = tmp_path / "train", tmp_path / "key.json"
    trained = train_base(train, tmp_path / "base.pt", settings=ONE_EPOCH, test=tmp_path / "test", progress=Told())
    assert trained.test_accuracy is not None
    draw_key(CLASSES, profile="paper-basic", steps=2).save(key)
    options = EncryptionOptions(formats=("png8",), workers=0)
    for part in ("train", "test"):
        shared = tmp_path / f"{part} encrypted"
        done = encrypt_folder(tmp_path / part, shared, key=key, base=trained.path, options=options, progress=Told())
        assert {f"{image.label}-{image.id[-4:]}" for image in done.manifest.images} == {
            image.id for image in done.manifest.images
        }
        outcome = verify(shared, originals=tmp_path / part, progress=Told()).outcome
        assert (outcome.problems, outcome.compared) == ((), len(done.manifest.images))
