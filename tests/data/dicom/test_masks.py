from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.path
import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from monai_advenc.data.dicom.segmentation import read_dicom_seg
from monai_advenc.data.dicom.series import DicomSeries, read_dicom_series
from monai_advenc.data.dicom.structure_set import read_rtstruct
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.cross_section import SliceSettings, cut_cross_section
from monai_advenc.errors import MaskError, VolumeError
from tests.data.dicom.dicom_phantom import square, write_rtstruct, write_seg, write_series

NATIVE = SliceSettings(size=None)


def blob(count: int = 4, rows: int = 10, columns: int = 12) -> NDArray[np.uint8]:
    mask = np.zeros((count, rows, columns), dtype=np.uint8)
    mask[1, 3:6, 4:6] = mask[2, 3:7, 4:8] = 1
    return mask


def series_with(tmp_path: Path, mask: NDArray[Any], **options: Any) -> tuple[DicomSeries, list[Path]]:
    stored = np.random.default_rng(0).integers(0, 1000, mask.shape).astype(np.int16)
    paths = write_series(tmp_path / "image", stored, **options)
    return read_dicom_series(tmp_path / "image"), paths


def height_of_slice(image: Volume, mask: Volume) -> float:
    """Where along the patient, in mm upward, the slice with the largest cross-section lies."""
    return float(cut_cross_section(image, mask, NATIVE).affine[2, 3])


def fullest_height(areas: dict[float, float]) -> float:
    return max(areas, key=lambda z: areas[z])


def refuse(read: Callable[..., Any], path: Path, image: DicomSeries, message: str, **choice: Any) -> None:
    with pytest.raises((MaskError, VolumeError), match=message) as error:
        read(path, image, **choice)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("image", "mask", "segment"),
    [
        ("dcmqi_ct3/image", "dcmqi_ct3/seg/liver.dcm", "Liver"),
        *(("dcmqi_ct3/image", "dcmqi_ct3/seg/partial_overlaps.dcm", name) for name in ("GREEN", "PURPLE", "DARK_BLUE")),
        ("dcmqi_23x38x3/image", "dcmqi_23x38x3/seg/label.dcm", "Liver"),
        ("dcmqi_23x38x3/multiframe", "dcmqi_23x38x3/seg/label.dcm", "Liver"),
        ("highdicom_ct1/image", "highdicom_ct1/seg/seg_image_ct_binary_single_frame.dcm", "first segment"),
    ],
)
def test_a_real_segmentation_chooses_the_slice_that_plain_counting_chooses(
    shared_data: Path, image: str, mask: str, segment: str
) -> None:
    folder = shared_data / "volumes" / "dicom"
    seg = pydicom.dcmread(folder / mask)
    pixels = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    number = next(each.SegmentNumber for each in seg.SegmentSequence if each.SegmentLabel == segment)
    areas: dict[float, float] = {}
    for frame, group in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            areas[float(group.PlanePositionSequence[0].ImagePositionPatient[2])] = float(frame.sum())
    series = read_dicom_series(folder / image)
    tumor = read_dicom_seg(folder / mask, series, segments=(segment,))
    assert tumor.voxels.sum() == sum(areas.values())
    assert height_of_slice(series.volume, tumor) == pytest.approx(fullest_height(areas), abs=1e-3)


def test_real_segmentations_of_other_images_are_refused(shared_data: Path) -> None:
    folder = shared_data / "volumes" / "dicom" / "highdicom_ct1"
    series = read_dicom_series(folder / "image")
    for name in ("binary", "binary_fractional", "binary_overlap", "true_fractional"):
        refuse(read_dicom_seg, folder / "seg" / f"seg_image_ct_{name}.dcm", series, "another frame of reference")


def test_a_real_structure_set_chooses_the_slice_that_plain_rasterizing_chooses(shared_data: Path) -> None:
    folder = shared_data / "volumes" / "dicom" / "sts002_mr"
    series = read_dicom_series(folder / "image")
    tumor = read_rtstruct(folder / "rtstruct" / "RS.dcm", series, segments=("gtv*",))
    header = pydicom.dcmread(folder / "image" / "000000.dcm", stop_before_pixels=True)
    spacing, corner = np.array(header.PixelSpacing[::-1], float), np.array(header.ImagePositionPatient[:2], float)
    columns, rows = np.meshgrid(np.arange(header.Columns), np.arange(header.Rows))
    centers = corner + np.stack([columns.ravel(), rows.ravel()], axis=1) * spacing
    areas: dict[float, float] = {}
    for contour in pydicom.dcmread(folder / "rtstruct" / "RS.dcm").ROIContourSequence[0].ContourSequence:
        corners = np.array(contour.ContourData, float).reshape(-1, 3)
        inside = matplotlib.path.Path(corners[:, :2]).contains_points(centers)
        areas[corners[0, 2]] = areas.get(corners[0, 2], 0) + inside.sum()
    # Two slices have the same area; the first in the direction of the axis wins.
    largest = max(areas.values())
    assert height_of_slice(series.volume, tumor) == pytest.approx(
        min(z for z, area in areas.items() if area == largest), abs=0.05
    )
    assert tumor.voxels.sum() == sum(areas.values())
    nifti: Any = nibabel.load(shared_data / "volumes/nifti/sts002_mr/seg.nii.gz")
    assert np.array_equal(tumor.voxels, np.asarray(nifti.dataobj))


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(3, 9), st.integers(3, 9)),
    spacing=st.tuples(st.floats(0.2, 5), st.floats(0.2, 5)),
    turn=st.tuples(*[st.floats(-3, 3)] * 3),
    kind=st.sampled_from(["BINARY", "FRACTIONAL", "LABELMAP"]),
    all_frames=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_segmentation_comes_back_on_the_grid_of_its_image(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int, int],
    spacing: tuple[float, float],
    turn: tuple[float, float, float],
    kind: str,
    all_frames: bool,
    seed: int,
) -> None:
    tmp_path = tmp_path_factory.mktemp("seg")
    mask = (np.random.default_rng(seed).random(shape) < 0.2).astype(np.uint8)
    mask.flat[0] = 1
    rotation = Rotation.from_rotvec(turn).as_matrix()
    series, paths = series_with(tmp_path, mask, orientation=[*rotation[:, 0], *rotation[:, 1]], spacing=spacing)
    written = write_seg(tmp_path / "seg.dcm", paths, {"tumor": mask}, kind=kind, omit_empty_frames=not all_frames)
    assert np.array_equal(read_dicom_seg(written, series).voxels, mask.transpose(2, 1, 0))


def test_overlapping_segments_are_chosen_by_name_or_number_and_joined(tmp_path: Path) -> None:
    core, edema = blob(), np.roll(blob(), 1, axis=2)
    series, paths = series_with(tmp_path, core)
    path = write_seg(tmp_path / "seg.dcm", paths, {"Tumor core": core, "Edema": edema})
    both = (core | edema).transpose(2, 1, 0)
    assert np.array_equal(read_dicom_seg(path, series, segments=("tumor*",)).voxels, core.transpose(2, 1, 0))
    assert np.array_equal(read_dicom_seg(path, series, segments=("TUMOR CORE", "edema")).voxels, both)
    assert np.array_equal(read_dicom_seg(path, series, numbers=(1, 2)).voxels, both)
    refuse(read_dicom_seg, path, series, r"has 2 segments \(1 'Tumor core'; 2 'Edema'\): say which are tumor")
    refuse(read_dicom_seg, path, series, "has no segment 'organ'; it has 1 'Tumor core'", segments=("organ",))
    refuse(read_dicom_seg, path, series, "has no segment 7; it has", numbers=(7,))


@pytest.mark.parametrize("name", ["GTV[1]", "Lesion?", "GTV1"])
def test_a_segment_is_chosen_by_its_name_whatever_signs_it_has(tmp_path: Path, name: str) -> None:
    masks = {
        each: np.roll(blob(), shift, axis=2) for shift, each in enumerate(("GTV1", "GTV[1]", "Lesion2", "Lesion?"))
    }
    series, paths = series_with(tmp_path, blob())
    path = write_seg(tmp_path / "seg.dcm", paths, masks)
    assert np.array_equal(read_dicom_seg(path, series, segments=(name,)).voxels, masks[name].transpose(2, 1, 0))


@pytest.mark.parametrize(
    "keyword",
    [
        "SegmentAlgorithmType",
        "SegmentAlgorithmName",
        "SegmentLabel",
        "SegmentedPropertyCategoryCodeSequence",
        "SegmentedPropertyTypeCodeSequence",
    ],
)
def test_a_segmentation_needs_no_attribute_that_says_nothing_about_its_pixels(tmp_path: Path, keyword: str) -> None:
    series, paths = series_with(tmp_path, blob())
    path = write_seg(tmp_path / "seg.dcm", paths, {"tumor": blob()})
    dataset = pydicom.dcmread(path)
    dataset.SegmentSequence[0].pop(keyword, None)
    dataset.save_as(path)
    assert np.array_equal(read_dicom_seg(path, series).voxels, blob().transpose(2, 1, 0))


def test_half_of_a_fractional_segmentation_is_tumor(tmp_path: Path) -> None:
    fractions = blob() * np.float32(0.49)
    fractions[2, 4, 4:6] = 0.51
    series, paths = series_with(tmp_path, fractions)
    path = write_seg(tmp_path / "seg.dcm", paths, {"tumor": fractions}, kind="FRACTIONAL")
    assert read_dicom_seg(path, series).voxels.sum() == 2


def test_a_fractional_segmentation_that_does_not_say_what_a_whole_voxel_is_is_refused(tmp_path: Path) -> None:
    series, paths = series_with(tmp_path, blob())
    path = write_seg(tmp_path / "seg.dcm", paths, {"tumor": blob() * np.float32(0.3)}, kind="FRACTIONAL")
    seg = pydicom.dcmread(path)
    for maximum, told in ((None, "missing"), (0, "missing"), (7, "7")):
        seg.MaximumFractionalValue = maximum
        if maximum is None:
            del seg.MaximumFractionalValue
        seg.save_as(path)
        refuse(read_dicom_seg, path, series, f"its Maximum Fractional Value is {told} with values up to")


def test_a_segment_without_pixels_is_named(tmp_path: Path) -> None:
    series, paths = series_with(tmp_path, blob())
    path = write_seg(tmp_path / "seg.dcm", paths, {"Core": blob(), "Edema": blob() * 0}, omit_empty_frames=False)
    assert read_dicom_seg(path, series, segments=("*",)).voxels.sum() == blob().sum()
    refuse(read_dicom_seg, path, series, "segment 'Edema' of the mask .* is empty", segments=("edema",))


def test_a_segmentation_whose_values_are_not_in_the_low_bits_is_refused(tmp_path: Path) -> None:
    image, sources = series_with(tmp_path, blob())
    path = write_seg(tmp_path / "seg.dcm", sources, {"Tumor": blob()}, kind="FRACTIONAL")
    seg = pydicom.dcmread(path)
    seg.BitsStored, seg.HighBit = 7, 7
    seg.save_as(path)
    refuse(read_dicom_seg, path, image, "High Bit 7 with 7 bits stored; expected 6")


def test_a_segmentation_of_a_tilted_series_lies_on_its_slices(tmp_path: Path) -> None:
    mask = blob()
    series, paths = series_with(tmp_path, mask, step=(0, 1, 2))
    path = write_seg(tmp_path / "seg.dcm", paths, {"tumor": mask})
    tumor = read_dicom_seg(path, series)
    assert np.array_equal(tumor.voxels, mask.transpose(2, 1, 0))
    assert cut_cross_section(series.volume, tumor, NATIVE).index == 2
    with pytest.raises(VolumeError, match="is sheared in sagittal slices"):
        cut_cross_section(series.volume, tumor, SliceSettings(plane="sagittal", size=None))


def _move(path: Path, millimeters: float) -> None:
    dataset = pydicom.dcmread(path)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0].ImagePositionPatient
        group.PlanePositionSequence[0].ImagePositionPatient = [position[0] + millimeters, *position[1:]]
    dataset.save_as(path)


def test_a_segmentation_may_be_off_by_rounding_but_not_by_half_a_voxel(tmp_path: Path) -> None:
    mask = blob()
    series, paths = series_with(tmp_path, mask)
    path = write_seg(tmp_path / "seg.dcm", paths, {"tumor": mask})
    _move(path, 0.01)
    assert np.array_equal(read_dicom_seg(path, series).voxels, mask.transpose(2, 1, 0))
    _move(path, 0.5)
    refuse(read_dicom_seg, path, series, "does not lie on the grid of its image")
    _move(path, 20 - 0.51)
    refuse(read_dicom_seg, path, series, "marks tumor outside its image")


def center_of(series: DicomSeries, k: int) -> tuple[float, float, float]:
    """Center of pixel (6, 5) of a slice, in mm in LPS+."""
    x, y, z = (series.volume.affine @ [6, 5, k, 1])[:3] * (-1, -1, 1)
    return float(x), float(y), float(z)


def test_contours_are_rasterized_with_holes_and_joined_by_name(tmp_path: Path) -> None:
    series, paths = series_with(tmp_path, blob())
    ring = [square(*center_of(series, 1), side) for side in (5, 3)]
    dot = [square(*center_of(series, 1), 1)]
    path = write_rtstruct(tmp_path / "rs.dcm", paths[0], {"Ring": ring, "Dot": dot})
    expected = np.zeros((12, 10), int)
    expected[4:9, 3:8] = 1
    expected[5:8, 4:7] = 0
    tumor = read_rtstruct(path, series, segments=("ring",))
    assert np.array_equal(tumor.voxels[:, :, 1], expected)
    assert tumor.voxels.sum() == expected.sum()
    expected[6, 5] = 1
    assert np.array_equal(read_rtstruct(path, series, segments=("*",)).voxels[:, :, 1], expected)
    assert read_rtstruct(path, series, numbers=(2,)).voxels.sum() == 1
    refuse(read_rtstruct, path, series, "has 2 segments .1 'Ring'; 2 'Dot'.: say which are tumor")


def test_contours_are_combined_by_their_type(tmp_path: Path) -> None:
    series, paths = series_with(tmp_path, blob())
    x, y, z = center_of(series, 1)
    twice, apart = [square(x, y, z, 5)] * 2, [square(x - 0.5, y, z, 4), square(x + 0.5, y, z, 4)]
    for kind, areas in (("CLOSED_PLANAR", (25, 25)), ("CLOSEDPLANAR_XOR", (0, 16))):
        path = write_rtstruct(tmp_path / f"{kind}.dcm", paths[0], {"Twice": twice, "Apart": apart}, kind=kind)
        for name, area in zip(("Twice", "Apart"), areas, strict=True):
            if area:
                assert read_rtstruct(path, series, segments=(name,)).voxels.sum() == area
            else:
                refuse(read_rtstruct, path, series, "region 'Twice' of .* encloses no voxel", segments=(name,))


def test_regions_without_contours_and_points_add_nothing(tmp_path: Path) -> None:
    series, paths = series_with(tmp_path, blob())
    x, y, z = center_of(series, 1)
    path = write_rtstruct(tmp_path / "rs.dcm", paths[0], {"GTV1": [square(x, y, z, 3)], "GTV2": [], "GTV3": []})
    dataset = pydicom.dcmread(path)
    point = write_rtstruct(tmp_path / "point.dcm", paths[0], {"GTV": [square(x, y, z, 3)[:1]]}, kind="POINT")
    dataset.ROIContourSequence[1].ContourSequence = pydicom.dcmread(point).ROIContourSequence[0].ContourSequence
    del dataset.ROIContourSequence[2].ContourSequence
    dataset.save_as(path)
    assert read_rtstruct(path, series, segments=("GTV*",)).voxels.sum() == 9
    refuse(read_rtstruct, path, series, "region 'GTV2', 'GTV3' of .* encloses no voxel", numbers=(2, 3))
    del dataset.ROIContourSequence[2]
    dataset.save_as(path)
    assert read_rtstruct(path, series, segments=("GTV*",)).voxels.sum() == 9


def test_a_contour_of_a_type_that_dicom_does_not_define_is_refused(tmp_path: Path) -> None:
    series, paths = series_with(tmp_path, blob())
    for kind in ("CLOSED PLANAR", "PLANAR", "XOR", ""):
        path = write_rtstruct(tmp_path / "rs.dcm", paths[0], {"GTV": [square(*center_of(series, 1), 3)]}, kind=kind)
        refuse(read_rtstruct, path, series, "region 'GTV' of .* has a contour of the type")


def test_what_a_region_loses_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    series, paths = series_with(tmp_path, blob())
    x, y, z = center_of(series, 1)  # Pixel (6, 5) of 12 columns and 10 rows.
    tiny, beyond = square(x + 0.5, y + 0.5, z, 0.5), square(x + 5, y, z, 3)
    path = write_rtstruct(tmp_path / "rs.dcm", paths[0], {"Tiny": [tiny], "Beyond": [beyond]})
    assert read_rtstruct(path, series, segments=("*",)).voxels.sum() == 2 * 3
    assert len(caplog.messages) == 2
    assert "region 'Tiny' of" in caplog.messages[0]
    assert "adds nothing" in caplog.messages[0]
    assert "region 'Beyond' of" in caplog.messages[1]
    assert "reaches beyond its image" in caplog.messages[1]
    dataset = pydicom.dcmread(path)
    dataset.ROIContourSequence[1].ContourSequence[0].ContourData[0] = "1e12"
    dataset.save_as(path)
    refuse(read_rtstruct, path, series, "coordinates that are no places", numbers=(2,))


def test_contours_elsewhere_than_the_slices_are_refused(tmp_path: Path) -> None:
    series, paths = series_with(tmp_path, blob())
    x, y, z = center_of(series, 1)
    slanted = square(x, y, z, 4)
    slanted[1:3, 2] += 1
    wrong = {"above": square(x, y, z + 100, 4), "between": square(x, y, z + 1, 4), "slanted": slanted}
    for name, contour in wrong.items():
        path = write_rtstruct(tmp_path / f"{name}.dcm", paths[0], {name: [contour]})
        refuse(read_rtstruct, path, series, "has a contour that lies on no slice")
    beside = write_rtstruct(tmp_path / "beside.dcm", paths[0], {"x": [square(x + 500, y, z, 4)]})
    refuse(read_rtstruct, beside, series, "region 'x' of .* has a contour outside its image")
    points = write_rtstruct(tmp_path / "points.dcm", paths[0], {"x": [square(x, y, z, 4)]}, kind="POINT")
    refuse(read_rtstruct, points, series, "region 'x' of .* encloses no voxel")
    other, _ = series_with(tmp_path / "other", blob(), series="other")
    refuse(read_rtstruct, beside, other, "another frame of reference")
    refuse(read_rtstruct, paths[0], series, r"is no RT structure set \(CT\)")
    refuse(read_dicom_seg, paths[0], series, r"is no DICOM segmentation \(CT\)")
