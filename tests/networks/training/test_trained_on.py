"""A base network says what it was trained on, without a name of a file, a folder or a patient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_advenc.data.images import kinds
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.kinds import are_kinds, kinds_of
from monai_advenc.errors import NetworkError
from monai_advenc.networks import get_network
from monai_advenc.networks.training.base import train_base
from monai_advenc.networks.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from monai_advenc.networks.training.settings import TrainingSettings
from monai_advenc.networks.training.trained_on import said_of, trained_on
from monai_advenc.progress import SILENT
from tests.data.dicom.dicom_phantom import write_series

ONE_EPOCH = TrainingSettings(epochs=1, batch_size=20)


def test_a_trained_network_says_how_many_images_of_what_kind_it_saw(tmp_path: Path) -> None:
    for number in range(42):
        place = tmp_path / "Jane Doe" / "ab"[number % 2] / f"Doe {number}"
        place.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(place / ("0.png" if number else "0.jpg"))
    out = tmp_path / "base.pt"
    train_base(
        tmp_path / "Jane Doe",
        out,
        network="vgg_small",
        settings=ONE_EPOCH,
        validation=0.3,
        device="cpu",
        progress=SILENT,
    )
    checkpoint = load_checkpoint(out)
    assert trained_on(checkpoint) == "trained on 42 images (JPEG, PNG, gray, 16 pixels) of a, b"
    assert said_of(checkpoint).endswith(" on 12 images kept aside")
    assert b"Doe" not in out.read_bytes()


def test_images_that_are_read_already_have_a_number_and_no_kind(tmp_path: Path) -> None:
    labels = torch.arange(40) % 2
    images = ImageSet(torch.rand(40, 3, 16, 16), labels, tuple(map(str, range(40))), ("a", "b"))
    train_base(images, tmp_path / "b.pt", network="vgg_small", settings=ONE_EPOCH, device="cpu", progress=SILENT)
    assert trained_on(load_checkpoint(tmp_path / "b.pt")) == "trained on 40 images (3 channels, 16 pixels) of a, b"


def test_a_file_of_an_earlier_version_says_what_it_knows(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "b.pt", get_network("resnet_small", 2, 1, 32), "resnet_small", ("a", "b"), 1, 32)
    said = "trained on images (gray, 32 pixels) of a, b; its file does not say its accuracy"
    assert said_of(load_checkpoint(tmp_path / "b.pt")) == said


@pytest.fixture(scope="module")
def silent_about_itself(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "b.pt"
    save_checkpoint(path, get_network("shallow", 2, 1, 32), "shallow", ("a", "b"), 1, 32)
    return path


@pytest.fixture(scope="module")
def checkpoint(silent_about_itself: Path) -> Checkpoint:
    return load_checkpoint(silent_about_itself)


@pytest.mark.parametrize(
    "notes",
    [
        {"training_images": -3},
        {"training_images": 0},
        {"training_images": True},
        {"training_images": 4.5},
        {"training_images": "x" * 5000},
        {"training_kinds": "all fine"},
        {"training_kinds": "PNG, all fine"},
        {"training_kinds": "DICOM " + "A" * 17},
        {"training_kinds": ", ".join(["PNG"] * 5000)},
        {"training_kinds": 7},
        {"validation_accuracy": "high"},
        {"validation_accuracy": float("nan")},
        {"validation_accuracy": 7.0},
        {"validation_accuracy": 0.9, "validation_images": -2},
        {"validation_accuracy": 0.9, "validation_images": "many"},
        {"validation_accuracy": 0.9, "validation_chance": "low"},
    ],
)
def test_what_no_training_notes_is_not_said(notes: Any, checkpoint: Checkpoint) -> None:
    said = "trained on images (gray, 32 pixels) of a, b; its file does not say its accuracy"
    assert said_of(replace(checkpoint, notes=notes)) == said


@pytest.mark.parametrize(
    "notes",
    [
        ["a"],
        "PNG",
        None,
        {"training_images": [3]},
        {"training_images": None},
        {3: "three"},
        {"training_kinds": "PNG\x1b[31m\nWarning: \x1b[2Jall fine"},
        {"family": "targeted\r\x1b[2J"},
        {"\x1b[2J": 1},
    ],
)
def test_notes_that_are_no_plain_values_are_refused_in_a_line(
    notes: Any, silent_about_itself: Path, tmp_path: Path
) -> None:
    content = torch.load(silent_about_itself, weights_only=True)
    torch.save({**content, "notes": notes}, tmp_path / "b.pt")
    with pytest.raises(NetworkError, match=r"expected numbers and printable texts by name") as raised:
        load_checkpoint(tmp_path / "b.pt")
    assert str(raised.value).isprintable()


def dicom_files(folder: Path, *modalities: str) -> list[Path]:
    def change(dataset: Any, index: int) -> None:
        dataset.Modality = modalities[index]

    names = [f"{number}.dcm" for number in range(len(modalities))]
    return write_series(folder, np.zeros((len(modalities), 16, 16), np.int16), names=names, change=change)


@pytest.mark.parametrize(
    ("modalities", "kind"),
    [
        (["CT"], "DICOM CT"),
        (["MR", "CT", "MR"], "DICOM CT/MR"),
        (["CT", "DOE JANE"], "DICOM CT"),
        (["MUELLER", "CT"], "DICOM CT"),
        (["MUELLER"], "DICOM"),
        (["XYZ"], "DICOM"),
    ],
)
def test_dicom_has_the_modalities_that_dicom_defines(tmp_path: Path, modalities: list[str], kind: str) -> None:
    files = dicom_files(tmp_path, *modalities)
    said = kinds_of([*files, Path("x.NII.GZ"), Path("y.tiff"), Path("train-00001")])
    assert said == f"{kind}, NIfTI, TIFF"
    assert are_kinds(said)


def test_a_broken_dicom_file_has_no_modality(tmp_path: Path) -> None:
    (tmp_path / "broken.dcm").write_bytes(b"x")
    assert kinds_of([tmp_path / "broken.dcm"]) == "DICOM"
    assert kinds_of([tmp_path / "broken.dcm", *dicom_files(tmp_path, "CT")]) == "DICOM CT"


def test_of_many_dicom_files_some_are_read_from_first_to_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = dicom_files(tmp_path, "CT", "MR")
    read: list[Path] = []
    monkeypatch.setattr(kinds, "parse_dicom", lambda path, **_: read.append(path) or {"Modality": "US"})
    assert kinds_of([first, *[tmp_path / "z.dcm"] * 10_000, last]) == "DICOM US"
    assert len(read) == 100
    assert {first, last} < set(read)
