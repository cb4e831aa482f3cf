"""Images are divided by patients: no network is tested on a patient that it was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st

from monai_advenc.data.images.folder import ImageFile, ImageFolder, find_images
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import DatasetError
from monai_advenc.evaluation.division import LEAST_CASES, LEAST_HELD_OUT, divide, load_division, some_images
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.progress import SILENT
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.options import EncryptionOptions
from tests.conftest import tiny_network


def images_of(patients: list[tuple[str, int]]) -> ImageSet:
    """An image for each entry: its patient and its class."""
    labels = torch.tensor([label for _, label in patients])
    names = tuple(f"image {row}" for row in range(len(patients)))
    blank = torch.zeros(len(patients), 1, 1, 1)
    return ImageSet(blank, labels, names, ("a", "b"), patients=tuple(name for name, _ in patients))


SIZES = st.lists(st.integers(1, 30), min_size=LEAST_CASES, max_size=25)


@settings(max_examples=60, deadline=None)
@given(sizes=st.tuples(SIZES, SIZES), of_both=st.lists(st.integers(1, 9), max_size=6), seed=st.integers(0, 99))
def test_no_patient_is_on_both_sides_and_every_image_is_tested_at_most_once(
    sizes: tuple[list[int], list[int]], of_both: list[int], seed: int
) -> None:
    images = images_of(
        [
            (f"{label} {place}", label)
            for label in (0, 1)
            for place, size in enumerate(sizes[label])
            for _ in range(size)
        ]
        + [(f"both {place}", number % 2) for place, size in enumerate(of_both) for number in range(2 * size)]
    )
    division = divide(images, images, 0.2, seed)
    assert images.patients is not None
    tested: list[int] = []
    for train, test in division.folds:
        assert not {images.patients[row] for row in train} & {images.patients[row] for row in test}
        assert sorted([*train, *test]) == list(range(len(images)))
        assert {int(images.labels[row]) for row in train} == {int(images.labels[row]) for row in test} == {0, 1}
        tested += test
    assert len(set(tested)) == len(tested)
    assert len(tested) == len(images) if len(division.folds) > 1 else len(tested) >= LEAST_HELD_OUT
    assert division.test_patients == tuple(images.patients[row] for row in tested)


def test_one_patient_with_most_of_the_images_leaves_five_folds() -> None:
    images = images_of(
        [("big", 0)] * 60 + [(f"a{place}", 0) for place in range(9)] + [(f"b{place}", 1) for place in range(20)]
    )
    division = divide(images, images, 0.2)
    assert sorted(len(test) for _, test in division.folds) == [6, 6, 6, 7, 64]


def test_cases_of_too_few_patients_are_too_few() -> None:
    images = images_of([(f"a{place % 9}", 0) for place in range(40)] + [(f"b{place}", 1) for place in range(40)])
    with pytest.raises(DatasetError, match="at least 10 patients of each class: 1 of a missing; add"):
        divide(images, images, 0.2)


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 200), min_size=LEAST_CASES, max_size=30), most=st.integers(20, 60))
def test_images_drawn_at_random_are_of_enough_patients(sizes: list[int], most: int) -> None:
    files = [
        ImageFile(f"{place} {number}", Path("x.png"), 0, patient=f"p{place}")
        for place, size in enumerate(sizes)
        for number in range(size)
    ]
    drawn = some_images(ImageFolder(Path(), tuple(files), ("a",)), most)
    assert len(drawn.files) == min(most, len(files))
    assert len({file.patient for file in drawn.files}) >= LEAST_CASES


def test_of_many_encrypted_images_those_of_enough_patients_are_drawn(tmp_path: Path) -> None:
    generator, key = (
        torch.Generator().manual_seed(0),
        EncryptionKey.draw(("a", "b"), PerturbationSettings(radius=1, step_size=1, steps=1), combiner="basic", seed=1),
    )
    rows = ["image,patient"]
    for label in key.classes:
        (tmp_path / "originals" / label).mkdir(parents=True)
        for number in range(30):
            image = torch.rand(1, 16, 16, generator=generator)
            (tmp_path / "originals" / label / f"{label}{number}.png").write_bytes(encode_image(image, "png16"))
            # Nine patients with one image, and one with all others.
            rows.append(f"{label}{number},{label}{min(number, 9)}")
    (tmp_path / "originals" / "patients.csv").write_text("\n".join(rows))
    options = EncryptionOptions(formats=("png16",), precision="fp32", workers=0)
    encrypt_images(find_images(tmp_path / "originals"), tmp_path / "out", key, tiny_network(num_classes=2), options)
    division = load_division(
        tmp_path / "originals", tmp_path / "out", None, size=None, gray=False, test_share=0.2, most=25, progress=SILENT
    )
    assert division.test_patients is not None
    assert len(set(division.test_patients)) == 20
    assert division.test_images == len(division.originals) < 60
    assert division.originals.ids == division.encrypted.ids


def test_a_set_of_images_does_not_show_its_patients() -> None:
    assert "Ann Smith" not in repr(images_of([("Ann Smith", 0), ("Bob", 1)]))
