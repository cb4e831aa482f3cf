"""What is no image, or no single acquisition, is named in one line with what was expected."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from pydicom.uid import RTDoseStorage
from scipy.io import netcdf_file

from monai_advenc.data.dicom.series import read_dicom_series
from monai_advenc.data.dicom.slice import read_dicom_slice
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.slicing import slice_case
from monai_advenc.data.volumes.stored_volume import read_stored_volume
from monai_advenc.errors import AdvencError, VolumeError
from tests.data.dicom.dicom_phantom import image_dataset, save, square, write_rtstruct, write_seg, write_series

SLICES = np.random.default_rng(1).integers(0, 900, (4, 12, 10)).astype(np.int16)


@settings(max_examples=25, deadline=None)
@given(frames=st.lists(st.sampled_from(["", "1.2.3", "1.2.4", "1.2.30"]), min_size=4, max_size=4))
def test_a_series_has_one_frame_of_reference(tmp_path_factory: pytest.TempPathFactory, frames: list[str]) -> None:
    folder = tmp_path_factory.mktemp("series")

    def change(dataset: Any, k: int) -> None:
        dataset.FrameOfReferenceUID = frames[k]
        if not frames[k] and k % 2:
            del dataset.FrameOfReferenceUID

    write_series(folder, SLICES, change=change)
    differ = len(set(frames) - {""}) > 1
    for read in (read_dicom_series, read_stored_volume):
        if not differ:
            found: Any = read(folder)  # type: ignore[operator]  # Both take a folder.
            series = getattr(found, "series", found)
            assert series.frame_of_reference_uid == max(frames)
            continue
        with pytest.raises(VolumeError, match="frames of reference") as caught:
            read(folder)  # type: ignore[operator]  # As above.
        message = str(caught.value)
        assert "\n" not in message
        named = [name for name in (f"{k:03}.dcm" for k in range(4)) if name in message]
        assert len({frames[int(name[:3])] for name in named}) == 2


def dose(folder: Path) -> Path:
    stored = np.arange(48, dtype=np.uint16).reshape(6, 8)
    dataset = image_dataset(stored)
    dataset.Modality = "RTDOSE"
    return save(dataset, folder / "dose.dcm")


def dose_that_says_ct(folder: Path) -> Path:
    """Its SOP class tells what it is."""
    dataset = image_dataset(np.arange(48, dtype=np.uint16).reshape(6, 8))
    dataset.SOPClassUID = RTDoseStorage
    return save(dataset, folder / "dose.dcm")


def segmentation(folder: Path) -> Path:
    paths = write_series(folder.parent / "source", SLICES)
    return write_seg(folder / "seg.dcm", paths, {"Tumor": np.ones(SLICES.shape, np.uint8)})


def structures(folder: Path) -> Path:
    paths = write_series(folder.parent / "source", SLICES)
    return write_rtstruct(folder / "rs.dcm", paths[0], {"GTV": [square(0, 0, 30, 4)]})


def minc_1(folder: Path) -> Path:
    folder.mkdir(parents=True)
    with netcdf_file(folder / "image.mnc", "w") as file:
        file.createDimension("xspace", 3)
        file.createVariable("image", "f4", ("xspace",))[:] = (1, 2, 3)
    return folder / "image.mnc"


def minc_2(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "image.mnc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
    return folder / "image.mnc"


def packed(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = make(folder)
        (folder / "image.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        return folder / "image.nii.gz"

    return write


KINDS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "dose": (dose, "RTDOSE, a radiation dose"),
    "dose by its class": (dose_that_says_ct, "RTDOSE, a radiation dose"),
    "segmentation": (segmentation, "SEG, a segmentation"),
    "structures": (structures, "RTSTRUCT, a structure set"),
    "MINC 1": (minc_1, "MINC 1 or another NetCDF file"),
    "MINC 2": (minc_2, "MINC 2 or another HDF5 file"),
    "MINC under a NIfTI name": (packed(minc_2), "MINC 2 or another HDF5 file"),
}


def message_of(function: Callable[[], object]) -> str:
    with pytest.raises(AdvencError) as caught:
        function()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_given_as_the_image_is_named(kind: str, tmp_path: Path) -> None:
    make, words = KINDS[kind]
    path = make(tmp_path / "volumes" / "a" / "case")
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), path.parent / "seg.nii.gz")
    (tmp_path / "cases.csv").write_text(f"case,image,mask,label\np,{path},{path.parent / 'seg.nii.gz'},a\n")
    listed = find_cases(tmp_path).cases[0]
    message = message_of(lambda: slice_case(listed, SliceSettings()))
    assert words in message
    assert "expected" in message
    assert path.name in message
    assert words in message_of(lambda: read_stored_volume(path))
    # The same in a folder of cases, alone and next to a case that is read.
    if "MINC" in kind:
        assert words in message_of(lambda: slice_case(find_cases(tmp_path / "volumes").cases[0], SliceSettings()))
    good = tmp_path / "volumes" / "a" / "good"
    good.mkdir()
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), good / "image.nii.gz")
    other = next(case for case in find_cases(tmp_path / "volumes").cases if case.id != "good")
    assert words in message_of(lambda: slice_case(other, SliceSettings()))


@pytest.mark.parametrize("make", [dose, dose_that_says_ct, segmentation, structures])
def test_a_single_file_that_is_no_image_is_named(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path / "case")
    message = message_of(lambda: read_dicom_slice(path))
    assert "is no image (" in message
    assert "expected CT, MR, PET or another image" in message


def test_a_mask_of_another_format_is_named(tmp_path: Path) -> None:
    write_series(tmp_path / "image", SLICES)
    mask = packed(minc_1)(tmp_path / "mask")
    case = Case("p", "a", tmp_path / "image", mask)
    assert "MINC 1 or another NetCDF file" in message_of(lambda: slice_case(case, SliceSettings()))
