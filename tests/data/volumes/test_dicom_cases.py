from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from monai_advenc.data.dicom.series import read_dicom_series
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.cross_section import CrossSection, SliceSettings
from monai_advenc.data.volumes.slicing import slice_case, slice_cases
from monai_advenc.errors import DatasetError, ImageError, MaskError
from tests.data.dicom.dicom_phantom import square, uid, write_enhanced, write_rtstruct, write_seg, write_series

NATIVE = SliceSettings(size=None)


def stored(count: int = 4, rows: int = 16, columns: int = 20) -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(0, 1000, (count, rows, columns)).astype(np.int16)


def tumor(count: int = 4, rows: int = 16, columns: int = 20) -> NDArray[np.uint8]:
    mask = np.zeros((count, rows, columns), dtype=np.uint8)
    mask[1, 3:6, 4:6] = mask[2, 3:7, 4:8] = 1
    return mask


def found(root: Path) -> list[tuple[str, str, str, str | None]]:
    return [
        (
            each.label,
            each.id,
            str(each.image.relative_to(root)),
            str(each.mask.relative_to(root)) if each.mask else None,
        )
        for each in find_cases(root).cases
    ]


def write_contours(path: Path, image: Path, paths: list[Path]) -> Path:
    series = read_dicom_series(image)
    corner = (series.volume.affine @ [5.5, 4.5, 2, 1])[:3] * (-1, -1, 1)
    return write_rtstruct(path, paths[0], {"GTV": [square(*(float(x) for x in corner), 4)]})


def write_nifti_mask(path: Path, affine: Any, mask: NDArray[np.uint8]) -> Path:
    nibabel.save(nibabel.Nifti1Image(mask.transpose(2, 1, 0), affine), path)
    return path


def test_a_dicom_series_and_its_mask_in_a_case_folder(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a" / "1" / "image", stored())
    write_seg(tmp_path / "a" / "1" / "seg.dcm", paths, {"tumor": tumor()})
    # Files without suffix, and the structure set among them.
    paths = write_series(tmp_path / "a" / "2", stored(), names=["IM1", "IM2", "IM3", "IM4"])
    write_contours(tmp_path / "a" / "2" / "RS", tmp_path / "a" / "2", paths)
    # A converted copy of the image beside a segmentation is no second mask.
    write_nifti_mask(tmp_path / "a" / "1" / "T1.nii.gz", np.eye(4), tumor())
    write_series(tmp_path / "b" / "3" / "deep" / "deeper", stored())
    affine = read_dicom_series(tmp_path / "b" / "3").volume.affine
    write_nifti_mask(tmp_path / "b" / "3" / "drawn by hand.nii.gz", affine, tumor())
    write_enhanced(tmp_path / "b" / "4" / "enhanced.dcm", stored())
    assert found(tmp_path) == [
        ("a", "1", "a/1", "a/1/seg.dcm"),
        ("a", "2", "a/2", "a/2/RS"),
        ("b", "3", "b/3", "b/3/drawn by hand.nii.gz"),
        ("b", "4", "b/4", None),
    ]
    cases = find_cases(tmp_path).cases
    for case in cases[:3]:
        section = slice_case(case, NATIVE)
        assert section.index == 2
        assert np.count_nonzero(section.mask) == 16
        assert section.mask[3:7, 4:8].all()
    with pytest.raises(MaskError, match="or with DICOM images a segmentation"):
        slice_case(cases[3], NATIVE)


def test_a_tree_of_patients_with_a_table_of_classes(tmp_path: Path) -> None:
    for patient in ("P1", "P2"):
        study = tmp_path / patient / "study"
        write_series(study / "localizer", stored(1), series=f"{patient} localizer")
        paths = write_series(study / "T1", stored(), series=f"{patient} T1")
        write_series(study / "T2", stored(), series=f"{patient} T2")
        write_seg(study / "seg" / "1-1.dcm", paths, {"tumor": tumor()})
    (tmp_path / "labels.csv").write_text("case,label\nP1,glioma\nP2,meningioma\n")
    assert found(tmp_path) == [
        ("glioma", "P1", "P1", "P1/study/seg/1-1.dcm"),
        ("meningioma", "P2", "P2", "P2/study/seg/1-1.dcm"),
    ]
    # Of the three series, the one that the segmentation refers to.
    assert [case.series_uid for case in find_cases(tmp_path).cases] == [uid("P1 T1"), uid("P2 T1")]
    assert slice_case(find_cases(tmp_path).cases[0], NATIVE).index == 2
    (tmp_path / "labels.csv").write_text("case,label\nP1,glioma\n")
    with pytest.raises(DatasetError, match="case 'P2' has no row"):
        find_cases(tmp_path)


def test_a_table_names_folders_and_files(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "files" / "series", stored())
    write_seg(tmp_path / "masks" / "seg.dcm", paths, {"tumor": tumor()})
    enhanced = write_enhanced(tmp_path / "files" / "enhanced.dcm", stored())
    write_contours(tmp_path / "rs.dcm", enhanced, [enhanced])
    (tmp_path / "cases.csv").write_text(
        "case,image,mask,label\n"
        "p1,files/series,masks,glioma\n"
        "p2,files/enhanced.dcm,rs.dcm,glioma\n"
        "p3,files/series,,glioma\n"
    )
    assert found(tmp_path) == [
        ("glioma", "p1", "files/series", "masks/seg.dcm"),
        ("glioma", "p2", "files/enhanced.dcm", "rs.dcm"),
        ("glioma", "p3", "files/series", None),
    ]
    assert [slice_case(case, NATIVE).index for case in find_cases(tmp_path).cases[:2]] == [2, 2]


def test_ambiguous_patients_are_refused_in_one_line_when_they_are_cut(tmp_path: Path) -> None:
    def refuse(message: str) -> None:
        (case,) = find_cases(tmp_path).cases
        with pytest.raises(DatasetError, match=message) as error:
            slice_case(case, NATIVE)
        assert "\n" not in str(error.value)

    paths = write_series(tmp_path / "a" / "1" / "x", stored(), series="x")
    write_series(tmp_path / "a" / "1" / "y", stored(), series="y")
    refuse("holds 2 series .CT x/000.dcm, CT y/000.dcm. and its mask refers to none or several of them")
    for name in ("s1.dcm", "s2.dcm"):
        write_seg(tmp_path / "a" / "1" / name, paths, {"tumor": tumor()})
    refuse("has 2 masks .s1.dcm, s2.dcm.; keep one")
    (tmp_path / "cases.csv").write_text("case,image,mask,label\np,a/1/s1.dcm,,glioma\n")
    refuse("no DICOM images in")
    (tmp_path / "note.txt").write_text("no mask")
    (tmp_path / "cases.csv").write_text("case,image,mask,label\np,a/1/x,note.txt,glioma\n")
    refuse("is no mask: expected a DICOM segmentation")


def test_segments_are_chosen_by_name_or_number_and_nifti_masks_have_no_names(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "image", stored())
    edema = np.zeros_like(tumor())
    edema[3] = 1
    mask = write_seg(tmp_path / "seg.dcm", paths, {"Tumor": tumor(), "Edema": edema})
    case = Case("p", "glioma", tmp_path / "image", mask)
    assert slice_case(case, SliceSettings(size=None, segments=("tumor",))).index == 2
    assert slice_case(case, SliceSettings(size=None, segments=("edema",))).index == 3
    assert slice_case(case, SliceSettings(size=None, labels=(2,))).index == 3
    affine = read_dicom_series(tmp_path / "image").volume.affine
    nifti = Case("p", "glioma", tmp_path / "image", write_nifti_mask(tmp_path / "m.nii", affine, tumor()))
    with pytest.raises(MaskError, match="has no segment names; choose labels by number with --tumor-labels"):
        slice_case(nifti, SliceSettings(segments=("tumor",)))
    image = write_nifti_mask(tmp_path / "image.nii", affine, tumor())
    with pytest.raises(MaskError, match=r"is DICOM, its image .* NIfTI"):
        slice_case(Case("p", "glioma", image, mask), NATIVE)


def test_a_nifti_mask_whose_axes_a_converter_flipped_lies_on_the_same_grid(tmp_path: Path) -> None:
    write_series(tmp_path / "image", stored())
    image = read_dicom_series(tmp_path / "image").volume
    flipped = image.affine @ np.array([[1, 0, 0, 0], [0, -1, 0, 15], [0, 0, 1, 0], [0, 0, 0, 1]])
    mask = write_nifti_mask(tmp_path / "m.nii.gz", flipped, tumor()[:, ::-1])
    assert slice_case(Case("p", "a", tmp_path / "image", mask), NATIVE).mask[3:7, 4:8].all()


def cut(folder: Path, pixels: NDArray[np.int16], **options: Any) -> CrossSection:
    paths = write_series(folder / "image", pixels, **options)
    mask = write_seg(folder / "seg.dcm", paths, {"tumor": tumor()})
    return slice_case(Case("p", "a", folder / "image", mask), NATIVE)


def test_monochrome1_is_shown_inverted_as_viewers_show_it(tmp_path: Path) -> None:
    plain = cut(tmp_path / "2", stored())
    inverted = cut(tmp_path / "1", stored(), photometric="MONOCHROME1")
    assert np.allclose(inverted.image, 1 - plain.image, atol=1e-6)
    assert (inverted.intensity.low, inverted.intensity.high) == (plain.intensity.high, plain.intensity.low)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_has_no_part_in_the_range(tmp_path: Path, photometric: str) -> None:
    def pad(dataset: Dataset, k: int) -> None:
        dataset.add_new("PixelPaddingValue", "SS", -30000)

    padded = stored()
    padded[:, :, :6] = -30000
    section = cut(tmp_path, padded, photometric=photometric, change=pad)
    assert (section.image[:, :6] == 0).all()
    assert section.image[:, 6:].std() > 0.2
    # The rescale intercept is -1024.
    assert min(section.intensity.low, section.intensity.high) >= -1024
    nothing = np.full_like(padded, -30000)
    with pytest.raises(ImageError, match="holds only padding"):
        cut(tmp_path / "nothing", nothing, change=pad)


def test_a_slice_of_a_changed_series_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in" / "a" / "1" / "image", stored())
    write_seg(tmp_path / "in" / "a" / "1" / "seg.dcm", paths, {"tumor": tumor()})
    assert not slice_cases(find_cases(tmp_path / "in").cases, NATIVE, tmp_path / "out")
    assert not slice_cases(find_cases(tmp_path / "in").cases, NATIVE, tmp_path / "out")
    write_series(tmp_path / "in" / "a" / "1" / "image", stored() + np.int16(1))
    with pytest.raises(DatasetError, match="has changed since it was cut"):
        slice_cases(find_cases(tmp_path / "in").cases, NATIVE, tmp_path / "out")
