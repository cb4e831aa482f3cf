"""Volumes that do not say how they lie: refused, or read as ``--assume-orientation`` says, image and mask alike."""

from __future__ import annotations

import gzip
import tempfile
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from monai_advenc.data.nifti import read_mask, read_volume
from monai_advenc.data.nifti_file import read_nifti_file
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cross_section import SliceSettings, cut_cross_section
from monai_advenc.data.volumes.reading import read_case
from monai_advenc.errors import SettingsError, VolumeError

ALL = ["".join(letters) for axes in permutations(("RL", "AP", "SI")) for letters in product(*axes)]
SPACING = {"R": 0.5, "A": 2.0, "S": 3.0}
POSITIVE = {"L": "R", "P": "A", "I": "S"}
UNITS = {0: 1.0, 1: 0.001, 2: 1.0, 3: 1000.0}
"""What a millimeter is in the unit of each code."""


def volume() -> NDArray[np.float32]:
    """A volume of which no two axes and no two ends are alike, axes toward right, anterior, superior."""
    return np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)


def tumor() -> NDArray[np.uint8]:
    mask = np.zeros((6, 7, 8), np.uint8)
    mask[1:3, 2:6, 5], mask[4, 4, 1] = 1, 1
    return mask


def stored_as(values: NDArray[Any], letters: str) -> NDArray[Any]:
    """The array of a file whose axes point toward ``letters``, by NumPy alone."""
    turned = values.transpose(["RAS".index(POSITIVE.get(letter, letter)) for letter in letters])
    for axis, letter in enumerate(letters):
        if letter in POSITIVE:
            turned = np.flip(turned, axis)
    return np.ascontiguousarray(turned)


def save(path: Path, kind: Any, values: NDArray[Any], letters: str, unit: int = 2) -> Path:
    spacing = [SPACING[POSITIVE.get(letter, letter)] * UNITS[unit] for letter in letters]
    image = kind(stored_as(values, letters), None)
    image.header.set_zooms(spacing)
    if "xyzt_units" in image.header:
        image.header["xyzt_units"] = unit
    image.to_filename(path)
    if kind is nibabel.MGHImage:
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[28:30] = bytes(2)  # The flag, which nibabel always sets.
        path.write_bytes(gzip.compress(content))
    return path


KINDS = {
    "nii": nibabel.Nifti1Image,
    "nii.gz": nibabel.Nifti2Image,
    "hdr": nibabel.Nifti1Pair,
    "img": nibabel.Spm99AnalyzeImage,
    "mgz": nibabel.MGHImage,
}


@settings(max_examples=60, deadline=None)
@given(letters=st.sampled_from(ALL), suffix=st.sampled_from(sorted(KINDS)), unit=st.sampled_from(sorted(UNITS)))
def test_a_volume_lies_as_it_is_assumed_to(letters: str, suffix: str, unit: int) -> None:
    kind = KINDS[suffix]
    unit = unit if kind in (nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.Nifti1Pair) else 2
    with tempfile.TemporaryDirectory() as folder:
        path = save(Path(folder) / f"a.{suffix}", kind, volume(), letters, unit)
        for read in (read_volume, read_mask):
            with pytest.raises(VolumeError, match="does not say where left and right are") as refused:
                read(path)
            assert "--assume-orientation" in str(refused.value)
        image = read_volume(path, letters)
        assert np.array_equal(read_mask(path, letters).voxels, image.voxels)
    assert image.assumed == letters
    upright = image.oriented("RAS")
    assert np.array_equal(upright.voxels, volume())
    # MGH without the flag has voxels of 1 mm, whatever else it says.
    assert upright.spacing == pytest.approx((1, 1, 1) if suffix == "mgz" else (0.5, 2, 3), rel=1e-6)


@pytest.mark.parametrize("letters", ALL[::5])
def test_image_and_mask_are_cut_as_if_their_files_said_how_they_lie(letters: str, tmp_path: Path) -> None:
    affine = np.diag([*SPACING.values(), 1.0])
    stated = []
    for name, values in (("image", volume()), ("seg", tumor())):
        nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / f"{name}.nii")
        stated.append(tmp_path / f"{name}.nii")
    silent = [
        save(tmp_path / f"silent-{name}.nii", nibabel.Nifti1Image, values, letters)
        for name, values in (("image", volume()), ("seg", tumor()))
    ]
    native, assuming = SliceSettings(size=None), SliceSettings(size=None, assume_orientation=letters)
    expected = cut_cross_section(*read_case(Case("c", "a", *stated), native), native)
    section = cut_cross_section(*read_case(Case("c", "a", *silent), assuming), assuming)
    assert section.index == expected.index == 5
    assert section.area_mm2 == pytest.approx(8 * 0.5 * 2)
    assert np.array_equal(section.image, expected.image)
    assert np.array_equal(section.mask, expected.mask)
    assert read_nifti_file(silent[0], letters).assumed == letters
    with pytest.raises(VolumeError, match=r"silent-seg\.nii does not say"):
        read_case(Case("c", "a", stated[0], silent[1]), native)


def test_a_file_that_says_how_it_lies_is_believed(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(volume(), np.diag([-1.0, 1, 1, 1])), tmp_path / "a.nii")
    read = read_volume(tmp_path / "a.nii", "RAS")
    assert read.assumed is None
    assert read.affine[0, 0] == -1


@pytest.mark.parametrize("letters", ["", "RA", "RAA", "RLS", "ras", "RASS", "XYZ"])
def test_letters_that_are_no_orientation_are_refused(letters: str) -> None:
    with pytest.raises(SettingsError, match="expected three letters"):
        SliceSettings(assume_orientation=letters)
