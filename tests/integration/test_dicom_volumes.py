"""Slicing and the main command on trees of DICOM patients, with segmentations and with structure sets."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from monai_advenc.data.dicom.series import read_dicom_series
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.manifest import Manifest
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint
from tests.data.dicom.dicom_phantom import square, write_rtstruct, write_seg, write_series

Run = Callable[..., Any]
SIDE = 32
PATIENTS = {"p1": "glioma", "p2": "meningioma", "p3": "pituitary"}
CLASSES = sorted(PATIENTS.values())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.pt"
    save_checkpoint(
        path, get_network("preresnet_small", 3, 1, SIDE, seed=0).eval(), "preresnet_small", CLASSES, 1, SIDE
    )
    return path


def head(seed: int) -> NDArray[np.int16]:
    """A bright disk with texture in air, 12-bit, ``(6, 32, 32)``."""
    rows, columns = np.mgrid[:32, :32] - 15.5
    noise = np.random.default_rng(seed).integers(0, 400, (6, 32, 32))
    return np.where(np.hypot(rows, columns) < 13, 1000 + noise, 0).astype(np.int16)


def write_segmented_patients(root: Path) -> dict[str, Path]:
    """Class folders of patients with segmentations; returns the slice of each that has most tumor."""
    fullest = {}
    for seed, (patient, label) in enumerate(PATIENTS.items()):
        folder = root / label / patient
        paths = write_series(folder / "images", head(seed), series=patient, rescale=(1, -1000))
        tumor, organ = np.zeros((6, 32, 32), np.uint8), np.ones((6, 32, 32), np.uint8)
        fullest[patient] = paths[1 + seed]
        tumor[1 + seed, 12:18, 14:20] = tumor[5, 12:14, 14:20] = 1
        write_seg(folder / "masks" / "seg.dcm", paths, {"Brain": organ, "Tumor": tumor})
    return fullest


def write_contoured_patients(root: Path) -> dict[str, Path]:
    """A tree of patients with structure sets and a table of classes; returns the slice of each with most tumor."""
    fullest = {}
    with (root / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["case", "label"])
        for seed, (patient, label) in enumerate(PATIENTS.items()):
            rows.writerow([patient, label])
            study = root / patient / "study"
            paths = write_series(study / "T1", head(seed), series=patient, rescale=None)
            fullest[patient] = paths[2 + seed]
            contours = []
            for k, side in ((2 + seed, 6), (3 + seed, 3)):
                place = (read_dicom_series(study / "T1").volume.affine @ [16.5, 16.5, k, 1])[:3] * (-1, -1, 1)
                contours.append(square(*(float(x) for x in place), side))
            regions = {"BODY": [square(5, -5, 30, 20)], "GTV 1": contours}
            write_rtstruct(study / "RS" / "rs.dcm", paths[0], regions)
    return fullest


@pytest.mark.parametrize(
    ("write", "segment"), [(write_segmented_patients, "tumor"), (write_contoured_patients, "gtv*")]
)
def test_dicom_patients_become_an_encrypted_data_set(
    write: Callable[[Path], dict[str, Path]], segment: str, base: Path, run: Run, tmp_path: Path
) -> None:
    volumes = tmp_path / "volumes"
    volumes.mkdir()
    fullest = write(volumes)
    choice = ("--tumor-segment", segment, "--size", SIDE, "--workers", 0)
    sliced = run("slice", volumes, "--out", tmp_path / "slices", *choice, "--json")
    assert sliced.exit_code == 0, sliced.output
    with (tmp_path / "slices" / "slices.csv").open() as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert {case: int(row["index"]) for case, row in rows.items()} == {
        case: int(path.stem) for case, path in fullest.items()
    }
    assert {float(row["area_mm2"]) for row in rows.values()} == {36}
    for row in rows.values():
        # An axial slice of an axial series is shown as the scanner stored it.
        image: Any = nibabel.load(tmp_path / "slices" / row["file"])
        pixels = np.asarray(image.dataobj).squeeze()
        stored = pydicom.dcmread(fullest[row["case"]]).pixel_array.astype(float)
        assert np.corrcoef(pixels.ravel(), stored.ravel())[0, 1] > 0.99
    keep = ("--identity", "keep")
    result = run("slice-and-encrypt", volumes, "--out", tmp_path / "out", "--base", base, "--steps", 2, *choice, *keep)
    assert result.exit_code == 0, result.output
    assert {image.id for image in Manifest.load(tmp_path / "out").images} == set(fullest)
    checked = run("verify", tmp_path / "out", "--originals", tmp_path / "out-private" / "slices")
    assert checked.exit_code == 0, checked.output
    for path in tmp_path.rglob("*"):
        if path.is_file() and volumes not in path.parents:
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            assert b"Zschirnt" not in content, f"the patient's name is in {path.name}"


def test_a_folder_named_after_its_patient_asks_what_is_to_happen_to_names(base: Path, run: Run, tmp_path: Path) -> None:
    write_segmented_patients(tmp_path / "volumes")
    (tmp_path / "volumes" / "glioma" / "p1").rename(tmp_path / "volumes" / "glioma" / "jane_doe")
    options = ("--base", base, "--steps", 2, "--tumor-segment", "tumor", "--size", SIDE, "--workers", 0)
    command = ("slice-and-encrypt", tmp_path / "volumes", "--out", tmp_path / "out", *options)
    refused = run(*command)
    assert refused.exit_code == 2
    assert refused.stderr.count("error:") == 1
    assert "--identity keep" in " ".join(refused.stderr.split())
    assert not (tmp_path / "out").exists()
    assert run(*command, "--identity", "remove").exit_code == 0
    assert not [path for path in (tmp_path / "out").rglob("*") if "jane" in path.name]
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"jane_doe" not in path.read_bytes()
    kept = ("--private", tmp_path / "kept-private", "--identity", "keep")
    assert run("slice-and-encrypt", tmp_path / "volumes", "--out", tmp_path / "kept", *options, *kept).exit_code == 0
    assert [path for path in (tmp_path / "kept").rglob("*") if "jane" in path.name]


def test_several_segments_must_be_chosen_among(base: Path, run: Run, tmp_path: Path) -> None:
    write_segmented_patients(tmp_path / "volumes")
    refused = run("slice", tmp_path / "volumes", "--out", tmp_path / "slices", "--workers", 0)
    assert refused.exit_code == 2
    assert refused.stderr.count("error:") == 1
    assert "--tumor-segment" in refused.stderr


def test_a_damaged_patient_is_left_out_and_named_and_nothing_half_written(run: Run, tmp_path: Path) -> None:
    write_segmented_patients(tmp_path / "volumes")
    damaged = tmp_path / "volumes" / "glioma" / "p1" / "images" / "002.dcm"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    options = ("--tumor-segment", "tumor", "--size", SIDE, "--workers", 0, "--keep-going", "--json")
    result = run("slice", tmp_path / "volumes", "--out", tmp_path / "slices", *options)
    summary = json.loads(result.stdout)
    assert summary["slices"] == 2
    assert [failure["id"] for failure in summary["failures"]] == ["p1"]
    assert "002.dcm" in summary["failures"][0]["message"]
    assert "\n" not in summary["failures"][0]["message"]
    assert not list((tmp_path / "slices").rglob("p1*"))


def test_real_dicom_patients_become_an_encrypted_data_set(
    shared_data: Path, base: Path, run: Run, tmp_path: Path
) -> None:
    dicom = shared_data / "volumes" / "dicom"
    with (tmp_path / "cases.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["case", "image", "mask", "label"])
        rows.writerow(["liver", dicom / "dcmqi_ct3" / "image", dicom / "dcmqi_ct3" / "seg" / "liver.dcm", "glioma"])
        rows.writerow(["sarcoma", dicom / "sts002_mr" / "image", dicom / "sts002_mr" / "rtstruct", "meningioma"])
        single = dicom / "highdicom_ct1" / "seg" / "seg_image_ct_binary_single_frame.dcm"
        rows.writerow(["bone", dicom / "highdicom_ct1" / "image", single, "pituitary"])
    result = run(
        *("slice-and-encrypt", tmp_path, "--out", tmp_path / "out", "--base", base),
        *("--size", SIDE, "--fit", "resize", "--steps", 2, "--workers", 0, "--identity", "keep"),
    )
    assert result.exit_code == 0, result.output
    encrypted = load_image_set(find_images(tmp_path / "out"))
    assert set(encrypted.ids) == {"bone", "liver", "sarcoma"}
