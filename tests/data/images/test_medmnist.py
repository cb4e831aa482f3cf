"""MedMNIST files are folders of images to every command that takes images; other kinds are refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.medmnist import CLASSES
from monai_advenc.data.images.reading import read_image
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.errors import DatasetError, ImageError
from monai_advenc.experiments.paper.open_laboratory import TableRun, open_laboratory
from tests.data.images.medmnist_files import COUNTS, write_medmnist
from tests.data.images.test_image_folder import gray_png
from tests.data.volumes.test_layouts import write_volume


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("side", [28, 64])
def test_a_file_is_the_images_and_classes_that_its_arrays_hold(tmp_path: Path, side: int, color: bool) -> None:
    path = tmp_path / ("pneumoniamnist.npz" if side == 28 else f"pneumoniamnist_{side}.npz")
    arrays = write_medmnist(path, side=side, color=color)
    for part in ("train", "val", "test"):
        found = load_image_set(find_images(path / part))
        expected = arrays[f"{part}_images"].astype(np.float64) / 255
        expected = np.moveaxis(expected, 3, 1) if color else expected[:, None]
        rows = [int(name.removeprefix(f"{part}-")) for name in found.ids]
        assert sorted(rows) == list(range(COUNTS[part]))
        assert torch.equal(found.images, torch.from_numpy(expected.astype(np.float32)[rows]))
        names = [found.classes[label] for label in found.labels.tolist()]
        assert names == [("normal", "pneumonia")[label] for label in arrays[f"{part}_labels"][rows, 0]]


def test_the_file_alone_is_its_training_images(tmp_path: Path) -> None:
    path = tmp_path / "bloodmnist_64.npz"
    write_medmnist(path, classes=8, side=64, color=True, counts={"train": 16, "test": 8})
    assert find_images(path).files == find_images(path / "train").files
    assert set(find_images(path).classes) == set(CLASSES["bloodmnist"])


def test_classes_of_unknown_files_are_numbers(tmp_path: Path) -> None:
    write_medmnist(tmp_path / "ours.npz", classes=3)
    assert find_images(tmp_path / "ours.npz").class_counts() == {"0": 4, "1": 4, "2": 4}
    # More classes than the set of this name has: another data set, whose names we cannot know.
    write_medmnist(tmp_path / "breastmnist.npz", classes=3)
    assert find_images(tmp_path / "breastmnist.npz").classes == ("0", "1", "2")


def test_labels_may_be_a_plain_column_of_any_whole_numbers(tmp_path: Path) -> None:
    images = np.zeros((3, 28, 28), np.uint8)
    np.savez(tmp_path / "x.npz", train_images=images, train_labels=np.array([1, 0, 1], np.int64))
    assert find_images(tmp_path / "x.npz").class_counts() == {"0": 1, "1": 2}


IMAGES = np.zeros((4, 28, 28), np.uint8)
LABELS = np.array([[0], [1], [0], [1]], np.uint8)


@pytest.mark.parametrize(
    ("name", "images", "labels", "said"),
    [
        ("chestmnist.npz", IMAGES, np.zeros((4, 14), np.uint8), "14 labels for each image"),
        ("retinamnist_128.npz", IMAGES, LABELS, "ordinal regression"),
        ("organmnist3d.npz", np.zeros((4, 28, 28, 28), np.uint8), LABELS, "holds volumes"),
        ("x.npz", np.zeros((4, 8, 28, 28, 3), np.uint8), LABELS, "holds volumes"),
        ("x.npz", IMAGES.astype(np.float32), LABELS, "float32; expected .* uint8"),
        ("x.npz", IMAGES[:3], LABELS, "4 labels of type uint8 for 3 images"),
        ("x.npz", IMAGES, LABELS.astype(np.float32), "whole number"),
        ("x.npz", IMAGES, LABELS.astype(np.int64) - 1, "0 or more"),
        ("x.npz", IMAGES[:0], LABELS[:0], "shape"),
        ("x.npz", np.array([{}] * 4), LABELS, "object"),
        ("x.npz", IMAGES, np.array([{}] * 4), "cannot read"),
    ],
)
def test_files_without_one_class_for_each_image_are_refused(
    tmp_path: Path, name: str, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], said: str
) -> None:
    np.savez(tmp_path / name, train_images=images, train_labels=labels)
    with pytest.raises(DatasetError, match=said):
        find_images(tmp_path / name)


def test_what_is_no_such_file_or_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pneumoniamnist.npz"
    write_medmnist(path, counts={"train": 4})
    with pytest.raises(DatasetError, match="test_images and test_labels"):
        find_images(path / "test")
    with pytest.raises(DatasetError, match=r"no part 'all'; give .*/train, .*/val, .*/test"):
        find_images(path / "all")
    with pytest.raises(DatasetError, match=r"MedMNIST file \(\.npz\)"):
        find_images(tmp_path / "missing.npz")
    with pytest.raises(DatasetError, match=r"it holds pneumoniamnist\.npz"):
        find_images(tmp_path)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DatasetError, match="download it again"):
        find_images(tmp_path / "text.npz")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "x.npz"
    arrays = write_medmnist(path, counts={"train": 4})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, 100]))])
    try:
        found = load_image_set(find_images(path))
    except (DatasetError, ImageError):
        return
    rows = [int(name.rpartition("-")[2]) for name in found.ids]
    assert np.array_equal(np.rint(found.images[:, 0].numpy() * 255), arrays["train_images"][rows])


def test_a_file_that_changes_while_it_is_read_is_refused_or_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_medmnist(path, counts={"train": 8})
    last = find_images(path).files[-1].path
    read_image(last)
    arrays = write_medmnist(path, counts={"train": 10})
    assert torch.equal(read_image(last)[0], torch.from_numpy(arrays["train_images"][7]).float() / 255)
    write_medmnist(path, counts={"train": 2})
    with pytest.raises(ImageError, match="cannot read"):
        read_image(last)


def test_table_12_takes_training_and_test_images_of_a_file(tmp_path: Path) -> None:
    write_medmnist(tmp_path / "ours.npz", classes=3, side=32, counts={"train": 12, "test": 6})
    run = TableRun(number=12, data=tmp_path / "ours.npz", preset="cpu", out=tmp_path / "out", seeds=[0])
    laboratory = open_laboratory(tmp_path / "out" / "brain-tumors", run, say=lambda _: None)
    assert {name: len(images) for name, images in laboratory.originals.items()} == {"train": 12, "test": 6}


def test_the_folder_of_monais_mednist_is_recognized(tmp_path: Path) -> None:
    (tmp_path / "MedNIST.tar.gz").touch()
    for label in ("AbdomenCT", "Hand"):
        for number in range(2):
            gray_png(tmp_path / "MedNIST" / label / f"{number:06d}.jpeg")
    (tmp_path / "MedNIST" / "README.md").touch()
    assert find_images(tmp_path).class_counts() == {"AbdomenCT": 2, "Hand": 2}
    assert {file.id for file in find_images(tmp_path).files} >= {"AbdomenCT-000000", "Hand-000001"}


def test_the_folder_of_monais_decathlon_is_recognized(tmp_path: Path) -> None:
    task = tmp_path / "Task02_Heart"
    pairs = [{"image": f"./imagesTr/la_{n:03}.nii.gz", "label": f"./labelsTr/la_{n:03}.nii.gz"} for n in (3, 4)]
    for pair in pairs:
        for what, path in pair.items():
            write_volume(task / path, is_mask=what == "label")
            (task / path).with_name("._" + Path(path).name).touch()  # As the archive of the Decathlon has them.
    (task / "dataset.json").write_text(json.dumps({"training": pairs}))
    (task / "labels.csv").write_text("case,label\nla_003,dilated\nla_004,normal\n")
    (tmp_path / "Task02_Heart.tar").touch()
    found = {case.id: case.label for case in find_cases(tmp_path).cases}
    assert found == {"la_003": "dilated", "la_004": "normal"}
