# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Files with one SOP Instance UID: copies count once, different images are refused, and no slice is ever lost."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings, strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from monai_advenc.data.dicom.series import read_dicom_series
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.reading import read_case
from monai_advenc.data.volumes.stored_volume import read_stored_volume
from monai_advenc.errors import VolumeError
from tests.data.dicom.dicom_phantom import square, uid, write_enhanced, write_rtstruct, write_seg, write_series
from tests.data.dicom.test_series import with_text


def slices(count: int, *, seed: int = 0) -> np.ndarray[Any, np.dtype[np.int16]]:
    return np.random.default_rng(seed).integers(0, 1000, (count, 5, 4)).astype(np.int16)


def send_again(path: Path, name: str, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> Path:
    """What an archive sends the second time: the same object in another file, with other file meta information."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.ImplementationClassUID = uid("another archive")
    dataset.file_meta.ImplementationVersionName = "ARCHIVE_2"
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path.with_name(name), enforce_file_format=True)
    return path.with_name(name)


def refusal(source: Path) -> str:
    with pytest.raises(VolumeError) as error:
        read_dicom_series(source)
    assert "\n" not in str(error.value)
    return str(error.value)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_however_slices_share_uids_all_are_kept_or_the_series_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    count = data.draw(st.integers(2, 6), label="slices")
    owners = data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count), label="UID of each slice")
    # Slices of air are alike: their pixels say no more about them than a UID does.
    looks = data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count), label="pixels of each slice")
    sent = data.draw(st.lists(st.integers(0, count - 1), max_size=4), label="slices sent again")
    syntaxes = st.sampled_from([ExplicitVRLittleEndian, RLELossless, JPEGLSLossless])
    folder = tmp_path_factory.mktemp("series")
    order = data.draw(st.permutations(range(count)), label="order of the names")

    def share(dataset: Dataset, k: int) -> None:
        dataset.SOPInstanceUID = f"1.2.3.{owners[k]}"

    stored = slices(2)[looks]
    paths = write_series(folder, stored, names=[f"{place}.dcm" for place in order], change=share)
    for number, k in enumerate(sent):
        send_again(paths[k], data.draw(st.sampled_from("az")) + f"{number}.dcm", data.draw(syntaxes))
    if len(set(owners)) < count:
        message = refusal(folder)
        (shared,) = {owner for owner in owners if f"(1.2.3.{owner})" in message}
        named = {path.name for path in folder.iterdir() if str(path) in message}
        assert len(named) == 2
        of_one_uid = {path.name for path in folder.iterdir() if pydicom.dcmread(path).SOPInstanceUID[6:] == str(shared)}
        assert named <= of_one_uid
    else:
        volume = read_dicom_series(folder).volume
        assert np.array_equal(volume.voxels, stored.transpose(2, 1, 0) - np.float32(1024))
        # The slices are written 2 mm apart.
        assert np.allclose(np.linalg.norm(volume.affine[:3, 2]), 2)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless])
def test_an_object_that_an_archive_sends_again_counts_once(tmp_path: Path, syntax: str) -> None:
    stored = slices(3)
    paths = write_series(tmp_path, stored)
    for place, name in (("a", "000 again"), ("z", "again")):
        send_again(paths[1], f"{place} {name}.dcm", syntax, InstanceNumber=7, StudyDescription="sent again")
    series = read_dicom_series(tmp_path)
    assert np.array_equal(series.volume.voxels, stored.transpose(2, 1, 0) - np.float32(1024))
    assert len(read_stored_volume(tmp_path).slices) == 3


def test_a_copy_of_the_other_byte_order_and_representation_counts_once(tmp_path: Path) -> None:
    stored = slices(3)
    write_series(tmp_path, stored)

    def as_sent(dataset: Dataset, k: int) -> None:
        dataset.SOPInstanceUID = uid(dataset.SeriesInstanceUID, f"{k:03}.dcm")

    write_series(tmp_path, stored.astype(np.uint16), syntax=ExplicitVRBigEndian, names=["a", "b", "c"], change=as_sent)
    assert len(read_dicom_series(tmp_path).frames) == 3


@pytest.mark.parametrize(
    "elements",
    [
        {"ImagePositionPatient": [-10, -20, 34.5]},
        {"ImageOrientationPatient": [0, 1, 0, -1, 0, 0]},
        {"PixelSpacing": [1, 2]},
        {"RescaleIntercept": 0},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PixelPaddingValue": 5},
        {"PixelData": slices(3, seed=1)[1].astype("<i2").tobytes()},
    ],
    ids=lambda elements: next(iter(elements)),
)
def test_another_image_with_the_uid_of_a_slice_is_refused(tmp_path: Path, elements: dict[str, Any]) -> None:
    stored = slices(3)
    stored[1, 0, 0] = 5
    paths = write_series(tmp_path, stored, change=lambda dataset, k: dataset.add_new("PixelPaddingValue", "SS", -9))
    other = send_again(paths[1], "other.dcm", **elements)
    message = refusal(tmp_path)
    for part in (str(paths[1]), str(other), str(pydicom.dcmread(other).SOPInstanceUID), "different images"):
        assert part in message


def test_a_copy_that_is_damaged_is_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices(3))
    again = send_again(paths[1], "z.dcm", StudyDescription="cut off")
    again.write_bytes(again.read_bytes()[:-9])
    assert str(again) in refusal(tmp_path)


def test_multi_frame_copies_count_once_and_others_are_refused(tmp_path: Path) -> None:
    stored = slices(4)
    path = write_enhanced(tmp_path / "a.dcm", stored)
    again = send_again(path, "b.dcm", RLELossless)
    assert len(read_dicom_series(tmp_path).frames) == 4
    again.unlink()
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = 3
    del dataset.PerFrameFunctionalGroupsSequence[3:]
    dataset.PixelData = stored[:3].tobytes()
    dataset.save_as(again, enforce_file_format=True)
    assert "different images" in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["SEG", "RTSTRUCT"])
def test_a_mask_that_refers_to_several_images_by_one_uid_chooses_none_of_them(tmp_path: Path, kind: str) -> None:
    """Frames and contours lie where their positions say, so a mask needs no UID of an image; the image does."""
    folder = tmp_path / "in" / "a" / "1"
    stored, tumor = slices(4), np.zeros((4, 5, 4), np.uint8)
    tumor[2, 1:3, 1:3] = 1
    paths = write_series(folder / "image", stored)
    if kind == "SEG":
        write_seg(folder / "seg.dcm", paths, {"tumor": tumor})
    else:
        contour = square(-8.5, -18.5, 34.0, 1.4)
        write_rtstruct(folder / "rs.dcm", paths[0], {"tumor": [contour]})
    (case,) = find_cases(tmp_path / "in").cases
    _, mask = read_case(case, SliceSettings())
    assert [int(mask.voxels[:, :, k].sum()) for k in range(4)] == [0, 0, 4, 0]
    for one, other in itertools.pairwise(paths[1:3]):
        dataset = pydicom.dcmread(other)
        dataset.SOPInstanceUID = pydicom.dcmread(one).SOPInstanceUID
        dataset.save_as(other)
    with pytest.raises(VolumeError, match="different images with one SOP Instance UID"):
        read_case(case, SliceSettings())


@pytest.mark.parametrize("other", [{"SeriesNumber": 2}, {"Modality": "MR"}], ids=lambda elements: next(iter(elements)))
def test_two_series_with_one_uid_are_not_laid_between_each_other(tmp_path: Path, other: dict[str, Any]) -> None:
    """Slices of the second series lie in the middle between those of the first: together they make a regular grid."""
    write_series(tmp_path / "one", slices(3), step=(0, 0, 4))
    between = {"origin": (-10, -20, 32), "step": (0, 0, 4), "names": ["a", "b", "c"]}

    def change(dataset: Dataset, k: int) -> None:
        for keyword, value in other.items():
            setattr(dataset, keyword, value)

    write_series(tmp_path / "two", slices(3, seed=1), change=change, **between)
    message = refusal(tmp_path)
    assert next(iter(other)) in message.replace("Series Number", "SeriesNumber")
    for part in ("several series with one Series Instance UID", str(tmp_path / "one"), str(tmp_path / "two")):
        assert part in message


@pytest.mark.parametrize("number", [b"", b"2,0 ", b"one "])
def test_a_series_number_that_says_nothing_does_not_matter(tmp_path: Path, number: bytes) -> None:
    def change(dataset: Dataset, k: int) -> None:
        if k == 1:
            with_text("SeriesNumber", number)(dataset, k)

    write_series(tmp_path, slices(3), change=change)
    assert len(read_dicom_series(tmp_path).frames) == 3
