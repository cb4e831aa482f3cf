from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_modality_lut
from pydicom.tag import Tag
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from scipy.spatial.transform import Rotation

from monai_advenc.data.dicom.series import find_dicom_series, read_dicom_series
from monai_advenc.errors import AdvencError, VolumeError
from tests.data.dicom import lossless_jpeg
from tests.data.dicom.dicom_phantom import image_dataset, item, save, uid, write_enhanced, write_series

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
SHARED_FOLDERS = ("dcmqi_23x38x3/image", "dcmqi_23x38x3/multiframe", "dcmqi_ct3/image", "highdicom_ct1/image")
SHARED_FOLDERS += ("sts002_mr/image", "torchio_ct/image")
UNREADABLE = {
    "MR_truncated.dcm": "bytes of pixel data is less than expected",
    "badVR.dcm": "is no image .RTDOSE.",
    "data_emri_small.dcm": "10 without position",
    "liver_1frame.dcm": "is no image .SEG.",
    "meta_missing_tsyntax.dcm": "neither SOP Class UID nor Rows",
    "no_meta.dcm": "is no DICOM file",
    "rtstruct.dcm": "is no image .RTSTRUCT.",
}


def numbers(count: int, *shape: int, seed: int = 0, dtype: Any = np.int16) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 1000, (count, *shape)).astype(dtype)


def decoded_by_pydicom(path: Path) -> NDArray[np.float32]:
    """``(N, rows, columns)``; the modality LUT of each frame where the file keeps it there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
        pixels = dataset.pixel_array
        pixels = pixels.reshape(-1, *pixels.shape[-2:])
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        groups = dataset.get("PerFrameFunctionalGroupsSequence") or [Dataset()] * len(pixels)
        values = []
        for frame, group in zip(pixels, groups, strict=True):
            places = [place for place in (group, shared) if "PixelValueTransformationSequence" in place]
            rescale = places[0].PixelValueTransformationSequence[0] if places else dataset
            values.append(apply_modality_lut(frame, rescale))
    return np.stack(values).astype(np.float32)


def agrees_with_pydicom(source: Path) -> None:
    series = read_dicom_series(source)
    for k, frame in enumerate(series.frames):
        expected = decoded_by_pydicom(frame.path)[frame.index or 0]
        assert np.array_equal(series.volume.voxels[:, :, k].T, expected), frame.path.name


def refusal(source: Path) -> str:
    with pytest.raises(AdvencError) as error:
        read_dicom_series(source)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("folder", SHARED_FOLDERS)
def test_a_real_series_has_the_values_that_pydicom_decodes(shared_data: Path, folder: str) -> None:
    source = shared_data / "volumes" / "dicom" / folder
    agrees_with_pydicom(source)
    for path in source.iterdir():
        agrees_with_pydicom(path)


def test_awkward_files_have_the_values_that_pydicom_decodes_or_are_refused_in_one_line(shared_data: Path) -> None:
    files = sorted(path for path in (shared_data / "volumes" / "awkward" / "dicom").iterdir() if path.is_file())
    assert len(files) > 10
    for path in files:
        if path.name in UNREADABLE:
            with pytest.raises(VolumeError, match=UNREADABLE[path.name]):
                read_dicom_series(path)
            assert "\n" not in refusal(path)
        else:
            agrees_with_pydicom(path)


def test_other_objects_in_a_folder_of_segmentations_are_no_series(shared_data: Path) -> None:
    for folder in ("dcmqi_ct3/seg", "sts002_mr/rtstruct"):
        assert "no DICOM image" in refusal(shared_data / "volumes" / "dicom" / folder)


def test_real_time_points_at_the_same_positions_are_refused(shared_data: Path) -> None:
    folder = shared_data / "volumes" / "awkward" / "dicom" / "ge_4d_duplicate_positions"
    assert "30 images at 3 positions (time points" in refusal(folder)


def test_a_series_lies_where_its_nifti_form_lies(shared_data: Path) -> None:
    import nibabel

    nifti: Any = nibabel.load(shared_data / "volumes/nifti/sts002_mr/image.nii.gz")
    series = read_dicom_series(shared_data / "volumes/dicom/sts002_mr/image")
    assert np.allclose(series.volume.affine, nifti.affine, atol=1e-3)
    assert np.array_equal(series.volume.voxels, np.asarray(nifti.dataobj))


@pytest.mark.parametrize("path", sorted(BUNDLED.glob("*.dcm")), ids=lambda path: path.name)
def test_pydicoms_own_test_files_are_decoded_alike_or_refused_in_one_line(path: Path) -> None:
    if _is_readable(path):
        agrees_with_pydicom(path)
    else:
        refusal(path)


def test_common_compressions_of_pydicoms_own_test_files_are_read() -> None:
    read = {each.name for each in BUNDLED.glob("*.dcm") if _is_readable(each)}
    assert {
        "CT_small.dcm",
        "693_J2KI.dcm",
        "JPEG2000.dcm",
        "JPEGLSNearLossless_16.dcm",
        "JPGExtended.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
        "image_dfl.dcm",
    } <= read


def _is_readable(path: Path) -> bool:
    try:
        read_dicom_series(path)
    except AdvencError:
        return False
    return True


@st.composite
def series_options(draw: st.DrawFn) -> tuple[NDArray[Any], dict[str, Any]]:
    signed = draw(st.booleans())
    bits = draw(st.integers(8, 16))
    byte = bits == 8 and not signed and draw(st.booleans())
    dtype = np.uint8 if byte else np.int16 if signed else np.uint16
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)))
    seed = draw(st.integers(0, 2**32 - 1))
    stored = np.random.default_rng(seed).integers(low, high + 1, shape).astype(dtype)
    rotation = Rotation.from_rotvec(draw(st.tuples(*[st.floats(-3, 3)] * 3))).as_matrix()
    distance = st.floats(0.05, 20)
    rescale = draw(st.none() | st.tuples(st.floats(1e-3, 100) | st.floats(-100, -1e-3), st.floats(-2000, 2000)))
    options = {
        "orientation": [*rotation[:, 0], *rotation[:, 1]],
        "step": rotation[:, 2] * draw(distance),
        "origin": draw(st.tuples(*[st.floats(-500, 500)] * 3)),
        "spacing": draw(st.tuples(distance, distance)),
        "rescale": rescale,
        "bits_stored": bits,
        "photometric": draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
        "syntax": draw(st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian])),
        "names": draw(st.permutations([f"IM{k}" for k in range(shape[0])])),
    }
    return stored, options


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=series_options())
def test_any_series_becomes_its_values_at_its_places(
    drawn: tuple[NDArray[Any], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    stored, options = drawn
    folder = tmp_path_factory.mktemp("series")
    paths = write_series(folder, stored, **options)
    series = read_dicom_series(folder)
    # Files are named in any order, and come back in the order of their positions.
    assert [frame.path for frame in series.frames] == paths
    slope, intercept = (float(f"{each:.9g}") for each in options["rescale"] or (1, 0))
    expected = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    assert np.array_equal(series.volume.voxels, expected.transpose(2, 1, 0))
    assert series.inverted == (options["photometric"] == "MONOCHROME1")
    count, rows, columns = stored.shape
    for k in (0, count - 1):
        place = (series.volume.affine @ [columns - 1, rows - 1, k, 1])[:3] * (-1, -1, 1)
        row, column = np.array(options["orientation"][:3]), np.array(options["orientation"][3:])
        across, down = (columns - 1) * options["spacing"][1], (rows - 1) * options["spacing"][0]
        assert np.allclose(place, options["origin"] + k * options["step"] + row * across + column * down, atol=1e-3)
    frame = series.frames[0]
    assert (frame.slope, frame.intercept, frame.linear) == (slope, intercept, True)
    assert (frame.bits_stored, frame.signed) == (options["bits_stored"], np.issubdtype(stored.dtype, np.signedinteger))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, ExplicitVRBigEndian])
def test_lossless_transfer_syntaxes_give_the_same_values(tmp_path: Path, syntax: str) -> None:
    stored = numbers(2, 64, 48, dtype=np.uint16)
    if syntax == ExplicitVRBigEndian:
        write_series(tmp_path, stored, syntax=syntax)
    else:
        write_series(tmp_path, stored, change=lambda dataset, k: dataset.compress(syntax, generate_instance_uid=False))
    series = read_dicom_series(tmp_path)
    assert np.array_equal(series.volume.voxels, stored.transpose(2, 1, 0) - np.float32(1024))
    assert series.frames[0].transfer_syntax == syntax


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
def test_jpeg_lossless_gives_the_same_values(tmp_path: Path, syntax: str) -> None:
    stored = np.random.default_rng(0).integers(0, 2**16, (2, 24, 20)).astype(np.uint16)
    stored[0, 0, :4] = 0, 2**16 - 1, 0, 2**15

    def compress(dataset: Dataset, k: int) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([lossless_jpeg.encode(stored[k])])
        dataset["PixelData"].VR = "OB"

    write_series(tmp_path, stored, change=compress)
    assert np.array_equal(read_dicom_series(tmp_path).volume.voxels, stored.transpose(2, 1, 0) - np.float32(1024))


def test_frames_of_an_enhanced_file_are_sorted_and_each_has_its_own_slope(tmp_path: Path) -> None:
    stored = numbers(3, 4, 5, dtype=np.uint16)
    path = write_enhanced(tmp_path / "enhanced.dcm", stored, slopes=(1, 2, 4), order=(2, 0, 1))
    series = read_dicom_series(path)
    assert [frame.index for frame in series.frames] == [1, 2, 0]
    assert [frame.slope for frame in series.frames] == [2, 4, 1]
    for k, frame in enumerate(series.frames):
        assert np.array_equal(series.volume.voxels[:, :, k].T, stored[frame.index] * np.float32(frame.slope))
    assert series.volume.spacing == (1, 1, 2)
    shared = read_dicom_series(write_enhanced(tmp_path / "shared.dcm", stored))
    assert np.array_equal(shared.volume.voxels, (stored * np.float32(2) + 5).transpose(2, 1, 0))


def test_two_multi_frame_files_of_one_series_are_one_volume(tmp_path: Path) -> None:
    stored = numbers(4, 4, 5, dtype=np.uint16)
    write_enhanced(tmp_path / "b.dcm", stored[:2])
    write_enhanced(tmp_path / "a.dcm", stored[2:], origin=(-10, -20, 34))
    series = read_dicom_series(tmp_path)
    assert [(frame.path.name, frame.index) for frame in series.frames] == [
        ("b.dcm", 0),
        ("b.dcm", 1),
        ("a.dcm", 0),
        ("a.dcm", 1),
    ]


def test_a_modality_lut_sequence_is_applied(tmp_path: Path) -> None:
    def give_table(dataset: Dataset, k: int) -> None:
        table = list(range(100, 356))
        dataset.ModalityLUTSequence = [item(LUTDescriptor=[256, 0, 16], ModalityLUTType="US", LUTData=table)]
        dataset.ModalityLUTSequence[0]["LUTDescriptor"].VR = dataset.ModalityLUTSequence[0]["LUTData"].VR = "US"

    stored = numbers(2, 4, 4, dtype=np.uint16) % 256
    write_series(tmp_path, stored, rescale=None, change=give_table)
    series = read_dicom_series(tmp_path)
    assert np.array_equal(series.volume.voxels, stored.transpose(2, 1, 0) + np.float32(100))
    assert not series.frames[0].linear


@pytest.mark.parametrize(("value", "limit", "padded"), [(-2000, None, 3), (-2000, -1998, 5), (63536, None, 3)])
def test_padding_is_marked_by_value_and_by_range_even_with_the_wrong_signedness(
    tmp_path: Path, value: int, limit: int | None, padded: int
) -> None:
    def pad(dataset: Dataset, k: int) -> None:
        dataset.add_new("PixelPaddingValue", "US" if value > 0 else "SS", value)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", "SS", limit)

    stored = numbers(2, 4, 4)
    stored[0, 0, :3], stored[1, 3, 1:3] = -2000, -1999
    series = read_dicom_series(write_series(tmp_path, stored, change=pad)[0].parent)
    assert series.padding is not None
    assert np.count_nonzero(series.padding) == padded
    assert series.padding[0, 0, 0]


def test_a_gantry_tilt_is_in_the_affine(tmp_path: Path) -> None:
    write_series(tmp_path, numbers(3, 8, 8), step=(0, 1, 2))
    series = read_dicom_series(tmp_path)
    assert np.allclose(series.volume.affine[:3, 2], (0, -1, 2))


def test_values_of_empty_tags_count_as_missing(tmp_path: Path) -> None:
    def empty(dataset: Dataset, k: int) -> None:
        for keyword in ("SliceThickness", "RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "NumberOfFrames"):
            dataset.add_new(keyword, "US" if keyword == "PixelPaddingValue" else "DS", None)

    stored = numbers(2, 4, 4)
    write_series(tmp_path, stored, change=empty)
    assert np.array_equal(read_dicom_series(tmp_path).volume.voxels, stored.transpose(2, 1, 0))


def with_text(keyword: str, text: bytes) -> Callable[[Dataset, int], None]:
    """Write an element as it came, which pydicom itself would refuse to write."""

    def change(dataset: Dataset, k: int) -> None:
        tag = Tag(keyword)
        dataset._dict[tag] = RawDataElement(tag, "DS", len(text), text, 0, False, True)

    return change


@pytest.mark.parametrize("keyword", ["SliceThickness", "SpacingBetweenSlices"])
@pytest.mark.parametrize("text", [b"2,0 ", b"2.0 mm", b"thin"])
def test_a_thickness_that_is_no_number_does_not_matter_where_positions_tell_it(
    tmp_path: Path, keyword: str, text: bytes
) -> None:
    stored = numbers(3, 4, 5)
    write_series(tmp_path, stored, step=(0, 0, 2), change=with_text(keyword, text))
    series = read_dicom_series(tmp_path)
    assert series.volume.spacing == (1, 1, 2)
    assert np.array_equal(series.volume.voxels, stored.transpose(2, 1, 0) - np.float32(1024))


def test_a_number_that_is_needed_and_none_is_named_with_its_tag(tmp_path: Path) -> None:
    write_series(tmp_path, numbers(2, 4, 4), change=with_text("RescaleSlope", b"1,5 "))
    with pytest.raises(
        VolumeError, match=r"RescaleSlope \(0028,1053\) holds no 1 numbers .*1,5.*; correct it"
    ) as error:
        read_dicom_series(tmp_path)
    assert "\n" not in str(error.value)


def test_a_picture_without_position_is_read_as_it_is_shown(tmp_path: Path) -> None:
    stored = numbers(1, 3, 5)[0]
    dataset = image_dataset(stored)
    dataset.ImagerPixelSpacing = [0.5, 0.25]
    series = read_dicom_series(save(dataset, tmp_path / "x-ray"))
    assert series.volume.spacing == (0.25, 0.5, 1)
    assert np.array_equal(series.volume.oriented("PLS").voxels[:, :, 0], stored)
    assert series.frames[0].plane is None


def test_series_in_one_tree_are_told_apart_by_their_uid_and_other_files_left_out(tmp_path: Path) -> None:
    write_series(tmp_path / "p" / "one", numbers(2, 4, 4))
    write_series(tmp_path / "p" / "one", numbers(3, 4, 4), series="other", names=["x", "y", "z"])
    (tmp_path / "p" / "readme.txt").write_text("not DICOM")
    (tmp_path / "p" / "loop").symlink_to(tmp_path)
    found = find_dicom_series(tmp_path)
    assert sorted(len(each.paths) for each in found) == [2, 3]
    assert "holds 2 series (CT in " in refusal(tmp_path)
    assert len(read_dicom_series(tmp_path, series_uid=uid("other")).frames) == 3
    with pytest.raises(VolumeError, match="no DICOM image of the series"):
        read_dicom_series(tmp_path, series_uid="1.2.3")


def test_copies_of_an_object_count_once(tmp_path: Path) -> None:
    paths = write_series(tmp_path, numbers(3, 4, 4))
    (tmp_path / "copy of 001.dcm").write_bytes(paths[1].read_bytes())
    assert len(read_dicom_series(tmp_path).frames) == 3


def _set(**elements: Any) -> Callable[[Dataset, int], None]:
    def change(dataset: Dataset, k: int) -> None:
        for keyword, value in elements.items():
            if value is None:
                delattr(dataset, keyword)
            elif k == 1 or keyword != "PixelSpacing":
                setattr(dataset, keyword, value)

    return change


def _film(dataset: Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.2.840.10008.1.2.4.102")
    dataset.PixelData = encapsulate([b"film"])


REFUSED: dict[str, tuple[Callable[[Dataset, int], None], str]] = {
    "mosaic": (_set(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "is a Siemens mosaic"),
    "color": (_set(SamplesPerPixel=3, PhotometricInterpretation="RGB"), r"is no gray image \(RGB\)"),
    "palette": (_set(PhotometricInterpretation="PALETTE COLOR"), r"is no gray image \(PALETTE COLOR\)"),
    "unplaced": (_set(ImagePositionPatient=None), "3 without position or orientation"),
    "half placed": (_set(PixelSpacing=None), "has a position but no pixel spacing"),
    "other spacing": (_set(PixelSpacing=[2, 2]), "slices of different pixel spacing"),
    "flat": (_set(RescaleSlope=0), "rescale slope 0"),
    "skew": (_set(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "expected two unit vectors at right angles"),
    "NaN": (_set(RescaleIntercept="1e39"), "expected 1 finite numbers"),
    "dose": (_set(Modality="RTDOSE"), "no DICOM image in"),
    "32 bits": (_set(BitsAllocated=32, BitsStored=32, HighBit=31), "expected 8 to 16 bits"),
    "high bits": (_set(BitsStored=12, HighBit=15), r"High Bit 15 with 12 bits stored; expected 11, .* low bits first"),
    "short": (_set(Rows=400), "claims 1 frame.s. of 400 x 4 pixels"),
    "video": (lambda dataset, k: _film(dataset), "has the transfer syntax MPEG-4"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_gray_volume_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    change, message = REFUSED[name]
    write_series(tmp_path, numbers(3, 4, 4), change=change)
    with pytest.raises(VolumeError, match=message):
        read_dicom_series(tmp_path)
    refusal(tmp_path)


def test_incomplete_and_irregular_stacks_are_refused_in_one_line(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "gap", numbers(6, 4, 4))
    paths[2].unlink()
    assert "lacks 1 of its slices, the first between 32 and 36 mm" in refusal(tmp_path / "gap")

    def shift(dataset: Dataset, k: int) -> None:
        dataset.ImagePositionPatient = [0, 0, (0, 2, 3.5, 6)[k]]

    write_series(tmp_path / "irregular", numbers(4, 4, 4), change=shift)
    assert "irregular positions" in refusal(tmp_path / "irregular")

    def slide(dataset: Dataset, k: int) -> None:
        dataset.ImagePositionPatient = [(0, 1, 0, 0)[k], 0, 2 * k]

    write_series(tmp_path / "slid", numbers(4, 4, 4), change=slide)
    assert "irregular positions" in refusal(tmp_path / "slid")
    write_series(tmp_path / "sizes", numbers(2, 4, 4))
    write_series(tmp_path / "sizes", numbers(1, 4, 6), names=["x"], origin=(-10, -20, 34))
    assert "different size (4x4, 4x6)" in refusal(tmp_path / "sizes")
    write_series(tmp_path / "planes", numbers(2, 4, 4))
    write_series(tmp_path / "planes", numbers(1, 4, 4), names=["x"], orientation=(0, 1, 0, 0, 0, -1))
    assert "different orientation" in refusal(tmp_path / "planes")
    write_series(tmp_path / "echoes", numbers(2, 4, 4))
    write_series(tmp_path / "echoes", numbers(2, 4, 4), names=["x", "y"])
    assert "4 images at 2 positions" in refusal(tmp_path / "echoes")
    assert "does not exist" in refusal(tmp_path / "nowhere")


def test_a_damaged_last_slice_is_not_silently_lost(tmp_path: Path) -> None:
    last = write_series(tmp_path, numbers(3, 4, 4))[-1]
    content = last.read_bytes()
    for length in (*range(0, len(content), 17), len(content) - 1):
        last.write_bytes(content[:length])
        assert "002.dcm" in refusal(tmp_path)


def test_a_directory_of_a_disk_is_no_slice(tmp_path: Path) -> None:
    write_series(tmp_path / "images", numbers(3, 4, 4))
    source = BUNDLED / "dicomdirtests" / "DICOMDIR"
    (tmp_path / "DICOMDIR").write_bytes(source.read_bytes())
    assert len(read_dicom_series(tmp_path).frames) == 3


def test_a_missing_decoder_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_advenc.data.dicom.frame.get_decoder", lambda syntax: SimpleNamespace(is_available=False))
    message = refusal(BUNDLED / "JPGExtended.dcm")
    assert "is compressed with JPEG Extended (Process 2 and 4): install the extra jpeg" in message


@pytest.mark.parametrize(("slope", "intercept"), [("2", None), (None, "5"), ("2", ""), ("", "5")])
def test_slope_or_intercept_alone_means_nothing_and_is_refused(
    slope: str | None, intercept: str | None, tmp_path: Path
) -> None:
    def change(dataset: pydicom.Dataset, _: int) -> None:
        groups = dataset.get("SharedFunctionalGroupsSequence")
        home = groups[0].PixelValueTransformationSequence[0] if groups else dataset
        for keyword, value in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
            if value is None:
                home.pop(keyword, None)
            else:
                setattr(home, keyword, value)

    stored = np.random.default_rng(0).integers(0, 900, (3, 8, 9)).astype(np.uint16)
    write_series(tmp_path / "series", stored, change=change)
    write_enhanced(tmp_path / "enhanced" / "a.dcm", stored, change=change)
    for name in ("series", "enhanced"):
        with pytest.raises(VolumeError, match="only one of rescale slope and intercept"):
            read_dicom_series(tmp_path / name)


@pytest.mark.parametrize("value", [None, ""])
def test_a_classic_series_without_slope_and_intercept_holds_stored_values(value: str | None, tmp_path: Path) -> None:
    def change(dataset: pydicom.Dataset, _: int) -> None:
        if value is not None:
            dataset.RescaleSlope = dataset.RescaleIntercept = value

    stored = np.random.default_rng(0).integers(0, 900, (3, 8, 9)).astype(np.uint16)
    write_series(tmp_path, stored, rescale=None, change=change)
    assert np.array_equal(read_dicom_series(tmp_path).volume.voxels, stored.transpose(2, 1, 0))
