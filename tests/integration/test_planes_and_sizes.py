"""A steward learns in which plane slices were cut, and whether a size cropped the tumor."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from monai_advenc.data.manifest import VolumeManifest
from monai_advenc.data.volumes import stored_volume
from tests.data.dicom.dicom_phantom import write_seg, write_series
from tests.integration.conftest import World

Run = Callable[..., Any]

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def write_nifti_case(folder: Path, shape: tuple[int, int, int], spacing: tuple[float, float, float], half: int) -> None:
    """A volume with a cubic tumor of side ``2 * half`` voxels, at most the volume's own, in its middle."""
    folder.mkdir(parents=True)
    affine = np.diag([*spacing, 1.0])
    voxels = np.random.default_rng(len(folder.name)).uniform(1, 200, shape).astype(np.float32)
    mask = np.zeros(shape, dtype=np.uint8)
    mask[tuple(slice(max(0, side // 2 - half), min(side, side // 2 + half)) for side in shape)] = 1
    nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, affine), folder / "seg.nii.gz")


def write_sagittal_dicom(folder: Path, count: int) -> None:
    stored = np.random.default_rng(5).integers(0, 900, (count, 40, 36)).astype(np.int16)
    paths = write_series(folder / "images", stored, orientation=SAGITTAL, rescale=None)
    tumor = np.zeros(stored.shape, np.uint8)
    tumor[count // 2, 12:20, 8:20] = 1
    write_seg(folder / "seg.dcm", paths, {"Tumor": tumor})


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "slices.csv").open() as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def test_volumes_are_cut_in_the_plane_in_which_they_were_acquired(run: Run, tmp_path: Path) -> None:
    volumes = tmp_path / "volumes"
    write_nifti_case(volumes / "a" / "thick sagittal", (10, 40, 36), (5, 1, 1), 4)
    write_nifti_case(volumes / "a" / "isotropic", (24, 22, 20), (1, 1, 1.1), 4)
    write_sagittal_dicom(volumes / "b" / "series", 5)
    write_sagittal_dicom(volumes / "b" / "single", 1)
    command = ("slice", volumes, "--out", tmp_path / "slices", "--size", 0, "--workers", 0)
    result = run(*command, "--json")
    assert result.exit_code == 0, result.output
    planes = {case: row["plane"] for case, row in rows_of(tmp_path / "slices").items()}
    assert planes == {"isotropic": "axial", "series": "sagittal", "single": "sagittal", "thick sagittal": "sagittal"}
    for case, shape in (
        ("series", (40, 36)),
        ("single", (40, 36)),
        ("thick sagittal", (36, 40)),
        ("isotropic", (22, 24)),
    ):
        image: Any = nibabel.load(tmp_path / "slices" / rows_of(tmp_path / "slices")[case]["file"])
        assert np.asarray(image.dataobj).squeeze().shape in (shape, shape[::-1])
    assert json.loads(result.stdout)["planes"] == {"axial": 1, "sagittal": 3}
    assert "Plane as acquired: axial for 1 case, sagittal for 3 cases." in result.stderr
    assert "Warning: the slices lie in 2 different planes" in result.stderr
    again = run(*command, "--plane", "axial")
    assert again.exit_code == 2
    assert "was cut with other options (plane acquired, not axial)" in again.stderr
    assert "or begin in a new folder (--out)" in again.stderr
    axial = run(
        "slice", volumes, "--out", tmp_path / "axial", "--size", 0, "--workers", 0, "--plane", "axial", "--json"
    )
    assert {row["plane"] for row in rows_of(tmp_path / "axial").values()} == {"axial"}
    assert "Plane as acquired" not in axial.stderr


def test_a_size_smaller_than_the_tumor_is_warned_of_with_the_share_kept(run: Run, tmp_path: Path) -> None:
    volumes = tmp_path / "volumes"
    write_nifti_case(volumes / "a" / "large", (60, 60, 12), (1, 1, 4), 16)
    write_nifti_case(volumes / "a" / "small", (60, 60, 12), (1, 1, 4), 8)
    command = ("slice", volumes, "--workers", 0, "--json", "--size", 16)
    result = run(*command, "--out", tmp_path / "slices")
    assert result.exit_code == 0, result.output
    # A square tumor of 32 pixels a side, of which a square of 16 remains.
    assert json.loads(result.stdout)["cropped"] == {"large": 0.25}
    assert "Warning: 1 of 2 tumors are larger than 16 pixels and were cropped; 25%" in result.stderr
    again = run(*command, "--out", tmp_path / "slices")
    assert json.loads(again.stdout)["cropped"] == {"large": 0.25}
    resized = run(*command, "--out", tmp_path / "resized", "--fit", "resize")
    assert json.loads(resized.stdout)["cropped"] == {}
    assert "cropped" not in resized.stderr


@pytest.mark.parametrize(("size", "warned"), [(80, True), (79, False), (0, False)])
def test_slices_that_are_mostly_padding_are_warned_of_before_the_work(
    run: Run, tmp_path: Path, size: int, warned: bool
) -> None:
    """The longest side of all slices has 40 pixels, which is half of 80."""
    write_nifti_case(tmp_path / "volumes" / "a" / "wide", (24, 40, 8), (1, 1, 4), 4)
    write_nifti_case(tmp_path / "volumes" / "a" / "small", (20, 18, 8), (1, 1, 4), 4)
    result = run("slice", tmp_path / "volumes", "--out", tmp_path / "slices", "--workers", 0, "--size", size)
    assert result.exit_code == 0, result.output
    told = "Warning: slices of 40 pixels at most are padded to 80" in result.stdout
    assert (told, "padded" in result.output) == (warned, warned)
    assert ("--size 48 holds all of them" in result.stdout) == warned


def test_whole_volumes_say_their_plane_and_are_not_continued_in_another(
    world: World, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = "chordoma"
    for name in ("first", "second"):
        write_nifti_case(tmp_path / "volumes" / label / name, (32, 10, 32), (1, 5, 1), 3)
    options = ("--key", world.key, "--base", world.base, "--workers", 0)
    command = ("encrypt-volume", tmp_path / "volumes", "--out", tmp_path / "out", *options)
    with monkeypatch.context() as earlier:
        earlier.setattr(stored_volume, "chosen_plane", lambda choice, volume: "axial")  # As version 0.1 did.
        assert run(*command).exit_code == 0
    refused = run(*command)
    assert refused.exit_code == 2
    assert "or an earlier version cut it in another plane; delete" in refused.stderr
    assert refused.stderr.count("error:") == 1
    done = run("encrypt-volume", tmp_path / "volumes", "--out", tmp_path / "acquired", *options, "--json")
    assert json.loads(done.stdout)["planes"] == {"coronal": 2}
    assert "Plane as acquired: coronal for 2 cases." in done.stderr
    assert {record.plane for record in VolumeManifest.load(tmp_path / "acquired").volumes} == {"coronal"}
    checked = run("verify", tmp_path / "acquired", "--originals", tmp_path / "volumes")
    assert checked.exit_code == 0, checked.output
