"""Labeled images in memory: splits keep patients whole, classes in proportion, and the same seed the same parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings, strategies as st

from monai_advenc.bundle.items import image_items, split_items
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.writing import encode_image
from monai_advenc.errors import DatasetError


def image_set(labels: list[int], patients: list[str] | None = None) -> ImageSet:
    names = tuple(f"image-{row}" for row in range(len(labels)))
    classes = tuple(f"class-{label}" for label in range(max(labels) + 1))
    people = None if patients is None else tuple(patients)
    return ImageSet(torch.zeros(len(labels), 1, 2, 2), torch.tensor(labels), names, classes, patients=people)


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, 6), min_size=4, max_size=12), min_size=2, max_size=4),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 99),
)
def test_a_split_never_tears_a_patient_apart_and_leaves_no_class_empty(
    sizes: list[list[int]], fraction: float, seed: int
) -> None:
    rows = [
        (label, f"patient-{label}-{person}")
        for label, people in enumerate(sizes)
        for person, count in enumerate(people)
        for _ in range(count)
    ]
    images = image_set([label for label, _ in rows], [person for _, person in rows])
    kept, split_off = images.split(fraction, seed)
    assert kept.patients is not None
    assert split_off.patients is not None
    assert not set(kept.patients) & set(split_off.patients)
    assert sorted(kept.ids + split_off.ids) == sorted(images.ids)
    for part in (kept, split_off):
        assert set(part.labels.tolist()) == set(range(len(sizes)))


def test_a_patient_with_images_of_two_classes_stays_whole() -> None:
    patients = ["a", "a", "b", "b", "c", "c", "d", "d"]
    kept, split_off = image_set([0, 1] * 4, patients).split(0.25)
    assert len(set(split_off.patients or ())) == 1
    assert (len(kept), len(split_off)) == (6, 2)


def test_a_class_of_one_patient_cannot_be_split() -> None:
    with pytest.raises(DatasetError, match="class 'class-1' cannot be split"):
        image_set([0, 0, 0, 1, 1], ["a", "b", "c", "d", "d"]).split(0.3)


def test_without_patients_every_class_gives_its_share() -> None:
    kept, split_off = image_set([0] * 10 + [1] * 20).split(0.2, seed=3)
    assert split_off.labels.bincount().tolist() == [2, 4]
    assert kept.labels.bincount().tolist() == [8, 16]
    assert split_off.ids == image_set([0] * 10 + [1] * 20).split(0.2, seed=3)[1].ids


def test_the_first_of_each_class_are_taken_however_the_set_is_sorted() -> None:
    part = image_set([0] * 5 + [1] * 5 + [2] * 5).first_of_each_class(6)
    assert part.ids == ("image-0", "image-1", "image-5", "image-6", "image-10", "image-11")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label in ("glioma", "meningioma"):
        (tmp_path / label).mkdir()
        for number in range(4):
            pixels = torch.full((1, 16, 16), number / 4)
            (tmp_path / label / f"{label}-{number}.png").write_bytes(encode_image(pixels, "png8"))
    rows = [f"{label}-{number},{label} {number // 2}" for label in ("glioma", "meningioma") for number in range(4)]
    (tmp_path / "patients.csv").write_text("image,patient\n" + "\n".join(rows) + "\n")
    return tmp_path


def test_a_table_of_patients_is_heeded_by_the_commands_and_by_the_bundles(folder: Path) -> None:
    found = find_images(folder)
    images = load_image_set(found)
    assert images.patients is not None
    assert images.patients[:3] == ("glioma 0", "glioma 0", "glioma 1")
    _, validation = images.split(0.5, seed=1)
    _, items = split_items(image_items(str(folder), found.classes), 0.5, seed=1)
    assert tuple(item["id"] for item in items) == validation.ids
    assert len(set(validation.patients or ())) == 2


def test_an_image_that_the_table_of_patients_leaves_out_is_refused(folder: Path) -> None:
    lines = (folder / "patients.csv").read_text().splitlines()
    (folder / "patients.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DatasetError, match="'meningioma-3' has no row"):
        find_images(folder)


def test_an_image_of_two_patients_is_refused(folder: Path) -> None:
    with (folder / "patients.csv").open("a") as table:
        table.write("glioma-0,someone else\n")
    with pytest.raises(DatasetError, match="'glioma-0' has no patient or two"):
        find_images(folder)


@given(st.lists(st.integers(0, 2), min_size=2, max_size=6), st.randoms())
def test_a_digest_tells_sets_apart_by_all_that_a_network_learns_from(labels: list[int], dice: Random) -> None:
    images = image_set(labels, [f"p{row}" for row in range(len(labels))])
    assert image_set(labels, [f"p{row}" for row in range(len(labels))]).digest() == images.digest()
    row = dice.randrange(len(labels))
    other = images.labels.clone()
    other[row] = (other[row] + 1) % 3
    pixels = images.images.clone()
    pixels[row, 0, 0, 0] = 1
    changed = [
        replace(images, labels=other),
        replace(images, images=pixels),
        replace(images, images=images.images.reshape(len(labels), 1, 1, 4)),
        replace(images, ids=(*images.ids[1:], "new")),
        replace(images, classes=("x", "y", "z")),
        replace(images, patients=None),
    ]
    assert len({each.digest() for each in (images, *changed)}) == len(changed) + 1
