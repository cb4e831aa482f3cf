# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Images that are in two sets are found by their pixels, whatever names, files, classes and formats they have."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.overlap import copies_between, overlap_warnings, require_disjoint
from monai_advenc.errors import SanityError


def image_set(pictures: list[int], names: list[str], patients: list[str] | None = None) -> ImageSet:
    """Images of 2x2 pixels of 16 bits; equal numbers give equal pictures."""
    generators = [np.random.default_rng(number) for number in pictures]
    images = [generator.integers(0, 2**16, (1, 2, 2)) / (2**16 - 1) for generator in generators]
    return ImageSet(
        torch.tensor(np.array(images), dtype=torch.float32).reshape(-1, 1, 2, 2),
        torch.arange(len(names)) % 2,
        tuple(names),
        ("a", "b"),
        patients=None if patients is None else tuple(patients),
    )


@settings(max_examples=60, deadline=None)
@given(
    train=st.lists(st.tuples(st.integers(0, 9), st.text("xy1", min_size=1)), unique_by=lambda each: each[1]),
    test=st.lists(st.tuples(st.integers(0, 9), st.text("xy1", min_size=1)), unique_by=lambda each: each[1]),
)
def test_exactly_the_pictures_of_both_sets_are_found(train: list[tuple[int, str]], test: list[tuple[int, str]]) -> None:
    sets = [image_set([number for number, _ in part], [name for _, name in part]) for part in (train, test)]
    both = copies_between(*sets)
    pictures = {number for number, _ in train}
    assert [name for _, name in both] == [name for number, name in test if number in pictures]
    picture_of = [{name: number for number, name in part} for part in (train, test)]
    assert all(picture_of[0][name] == picture_of[1][other] for name, other in both)
    if both:
        with pytest.raises(SanityError, match=f"{len(both)} of {len(test)} test images are in both training and test"):
            require_disjoint(*sets)
    else:
        require_disjoint(*sets)


def test_names_say_nothing() -> None:
    """Exports number the images of training and test set alike."""
    train, test = image_set([1, 2], ["1", "2"]), image_set([3, 4], ["1", "2"])
    require_disjoint(train, test)
    assert not overlap_warnings(train, test)


def test_copies_are_counted_and_named_and_so_are_patients() -> None:
    train = image_set([1, 2, 3], ["a", "b", "c"], ["p", "q", "q"])
    test = image_set([2, 5, 6], ["z", "a", "y"], ["r", "q", "s"])
    copies, patients = overlap_warnings(train, test, "validation")
    assert "1 of 3 validation images have the pixels of a training image ('b' and 'z')" in copies
    assert "training and validation set share 1 patient(s), of validation images such as 'a'" in patients
    assert not overlap_warnings(train, image_set([7, 8], ["u", "v"], ["t", "u"]))


def test_a_small_change_is_another_image() -> None:
    image = image_set([1], ["a"])
    changed = ImageSet((image.images + 2 / (2**16 - 1)).clamp(0, 1), image.labels, image.ids, image.classes)
    assert not copies_between(image, changed)
    # Other pixels in the same order of bytes are another image too.
    assert not copies_between(image, ImageSet(image.images.reshape(1, 1, 1, 4), *([image.labels, ("a",), ("a", "b")])))


def test_a_picture_is_the_same_in_every_lossless_format(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    for name in ("train", "test"):
        (tmp_path / name / "a").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "train" / "a" / "eight.png")
    place = tmp_path / "test" / "a"
    Image.fromarray(pixels.astype(np.uint16) * 257).save(place / "sixteen.png")
    Image.fromarray(pixels).save(place / "eight.tif")
    Image.fromarray(np.stack([pixels] * 3, axis=2)).save(place / "colors.png")
    np.save(place / "unit.npy", (pixels / 255).astype(np.float32))
    # What is written along NIfTI's first axis is the image's height.
    nibabel.save(nibabel.Nifti1Image((pixels / 255).astype(np.float64)[:, :, None], np.eye(4)), place / "f.nii.gz")
    train, test = (load_image_set(find_images(tmp_path / name), gray=True) for name in ("train", "test"))
    assert {name for _, name in copies_between(train, test)} == set(test.ids)
    assert len(test.ids) == 5
