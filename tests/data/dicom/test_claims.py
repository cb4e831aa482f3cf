"""DICOM whose header claims more than the file holds, and codestreams that end early: refused in one line."""

from __future__ import annotations

import io
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from monai_advenc.data.dicom.frame import frames_of
from monai_advenc.data.dicom.segmentation import read_dicom_seg
from monai_advenc.data.dicom.series import read_dicom_series
from monai_advenc.data.dicom.slice import read_dicom_slice
from monai_advenc.data.images.reading import read_image
from monai_advenc.data.volumes.stored_volume import read_stored_volume
from monai_advenc.errors import AdvencError, VolumeError
from tests.data.dicom import lossless_jpeg
from tests.data.dicom.dicom_phantom import write_enhanced, write_seg, write_series

MIB = 2**20

COMPRESSED = (JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless)

CUTS = (1, 2, 3, 8, 50, 400)
"""Bytes taken away before the end of image."""

ALL = (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, *COMPRESSED)


def pixels() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 1000, (1, 40, 36)).astype(np.uint16)


def write(folder: Path, syntax: str) -> Path:
    """One image of the transfer syntax."""

    def change(dataset: pydicom.Dataset, _: int) -> None:
        if syntax == JPEGLosslessSV1:
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.PixelData = encapsulate([lossless_jpeg.encode(pixels()[0])])
            dataset["PixelData"].VR = "OB"
        elif syntax == DeflatedExplicitVRLittleEndian:
            dataset.file_meta.TransferSyntaxUID = syntax
        elif syntax != ExplicitVRLittleEndian:
            dataset.compress(syntax, generate_instance_uid=False)

    return write_series(folder, pixels(), change=change)[0]


def change_file(path: Path, **values: Any) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def refused(path: Path, match: str) -> int:
    """The most bytes that were allocated at a time while each reader refused a file."""
    tracemalloc.start()
    try:
        for read in (read_dicom_series, read_stored_volume, read_dicom_slice, read_image):
            with pytest.raises(AdvencError, match=match) as error:
                read(path)  # type: ignore[operator]  # functions of one path each
            assert "\n" not in str(error.value)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("syntax", ALL)
def test_intact_images_of_each_transfer_syntax_are_read(syntax: str, tmp_path: Path) -> None:
    assert np.array_equal(read_dicom_slice(write(tmp_path, syntax)).stored.stored, pixels()[0])


@pytest.mark.parametrize("syntax", ALL)
@pytest.mark.parametrize("count", [5_000_000, 2**31 - 1, -3])
def test_a_number_of_frames_that_no_file_could_hold_is_refused_at_once(count: int, syntax: str, tmp_path: Path) -> None:
    path = write(tmp_path, syntax)
    change_file(path, NumberOfFrames=count)
    assert refused(path, f"claims {count} frame") < 4 * MIB


@pytest.mark.parametrize("syntax", ALL)
def test_rows_and_columns_that_the_file_does_not_hold_are_refused_before_memory_is_taken(
    syntax: str, tmp_path: Path
) -> None:
    path = write(tmp_path, syntax)
    change_file(path, Rows=65535, Columns=65535)
    assert refused(path, "65535 x 65535") < 4 * MIB


def test_frames_of_a_header_alone_are_compared_with_the_file(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, (3, 24, 20)).astype(np.uint16)
    path = write_enhanced(tmp_path / "enhanced.dcm", stored)
    assert len(frames_of(pydicom.dcmread(path, stop_before_pixels=True), path)) == 3
    change_file(path, Rows=65535, Columns=65535)
    with pytest.raises(AdvencError, match="claims 3 frame"):
        frames_of(pydicom.dcmread(path, stop_before_pixels=True), path)


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_codestream_without_its_end_is_refused(share: float, syntax: str, tmp_path: Path) -> None:
    path = write(tmp_path, syntax)
    codestream = next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)).rstrip(b"\0")
    change_file(path, PixelData=encapsulate([codestream[: int(share * (len(codestream) - 2))]]))
    refused(path, "frame 1 of .* ends early")


def codestream_of(path: Path) -> bytes:
    found = next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))
    return found[: found.rindex(b"\xff\xd9")]


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("count", CUTS)
def test_a_codestream_that_lacks_pixels_before_its_end_is_refused(count: int, syntax: str, tmp_path: Path) -> None:
    path = write(tmp_path, syntax)
    change_file(path, PixelData=encapsulate([codestream_of(path)[:-count] + b"\xff\xd9"]))
    refused(path, "damaged|lacks")


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("count", CUTS)
def test_a_codestream_that_lacks_pixels_in_its_middle_is_refused(count: int, syntax: str, tmp_path: Path) -> None:
    path = write(tmp_path, syntax)
    codestream = codestream_of(path)
    at = len(codestream) // 2
    change_file(path, PixelData=encapsulate([codestream[:at] + codestream[at + count :] + b"\xff\xd9"]))
    refused(path, "damaged|lacks")


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"progressive": True}], ids=str)
def test_gray_levels_of_jpeg_are_all_there_or_refused(options: dict[str, Any], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    levels = (pixels()[0] // 4).astype(np.uint8)
    Image.fromarray(levels).save(buffer, "JPEG", quality=90, **options)
    codestream = buffer.getvalue()[:-2]

    def change(dataset: pydicom.Dataset, _: int) -> None:
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = encapsulate([codestream + b"\xff\xd9"])
        dataset["PixelData"].VR = "OB"

    path = write_series(tmp_path, levels[None], bits_stored=8, change=change)[0]
    decoded = np.asarray(Image.open(buffer)).astype(int)
    assert np.abs(read_dicom_slice(path).stored.stored.astype(int) - decoded).max() <= 1
    for count in CUTS:
        change_file(path, PixelData=encapsulate([codestream[:-count] + b"\xff\xd9"]))
        refused(path, "damaged|lacks")


@pytest.mark.parametrize(
    ("count", "groups", "match"),
    [
        (30_000, 0, "has 30000 frames, more than one volume"),
        (17_000, 17_000, "has 17000 frames, more than one volume"),
        (9_000, 0, "9000 without position"),
    ],
)
def test_many_frames_cost_nothing_before_they_are_refused(count: int, groups: int, match: str, tmp_path: Path) -> None:
    path = write(tmp_path, JPEGLSLossless)
    pixel_data = encapsulate([codestream_of(path) + b"\xff\xd9", *[b"\0" * 32] * count], has_bot=False)
    change_file(
        path, NumberOfFrames=count, PixelData=pixel_data, PerFrameFunctionalGroupsSequence=[pydicom.Dataset()] * groups
    )
    started = time.process_time()
    assert refused(path, match) < 32 * MIB
    assert time.process_time() - started < 4


def test_an_element_that_claims_more_than_the_file_holds_takes_no_memory(tmp_path: Path) -> None:
    def change(dataset: pydicom.Dataset, _: int) -> None:
        dataset.ICCProfile = bytes(8)

    path = write_series(tmp_path, pixels(), change=change)[0]
    place = pydicom.dcmread(path).get_item("ICCProfile").value_tell
    content = bytearray(path.read_bytes())
    content[place - 4 : place] = (2**31).to_bytes(4, "little")
    path.write_bytes(content)
    assert refused(path, "damaged|no DICOM|no image") < 4 * MIB


def test_frames_that_no_compression_could_hold_are_refused_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, JPEG2000Lossless)
    change_file(path, Rows=4096, Columns=4096, NumberOfFrames=20)
    assert refused(path, "claims 20 frame") < 4 * MIB


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_a_codestream_of_another_size_than_the_header_is_refused(syntax: str, tmp_path: Path) -> None:
    path = write(tmp_path, syntax)
    change_file(path, Rows=39)
    refused(path, "is 40 x 36 pixels; expected 39 x 36 by its header")


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_fewer_codestreams_than_frames_are_refused(syntax: str, tmp_path: Path) -> None:
    path = write(tmp_path, syntax)
    change_file(path, NumberOfFrames=3)
    with pytest.raises(AdvencError) as error:
        read_dicom_series(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "claim", [{"NumberOfFrames": 5_000_000}, {"NumberOfFrames": 2**31 - 1}, {"Rows": 65535, "Columns": 65535}]
)
def test_a_segmentation_that_claims_more_than_its_file_holds_is_refused(claim: dict[str, int], tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 1000, (3, 40, 36)).astype(np.uint16)
    paths = write_series(tmp_path / "series", stored)
    path = write_seg(tmp_path / "seg.dcm", paths, {"tumor": (stored > 500).astype(np.uint8)})
    series = read_dicom_series(tmp_path / "series")
    assert np.array_equal(read_dicom_seg(path, series).voxels, (stored > 500).transpose(2, 1, 0))
    change_file(path, **claim)
    with pytest.raises(VolumeError, match=r"claims \d+ frame") as error:
        read_dicom_seg(path, series)
    assert "\n" not in str(error.value)
