"""Units, sform and qform of NIfTI: areas and places in millimeters, whatever the header counts in."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from monai_advenc.data.nifti import read_mask, read_volume
from monai_advenc.data.nifti_file import read_nifti_file
from monai_advenc.data.nifti_slice import read_nifti_slice
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cross_section import SliceSettings, cut_cross_section
from monai_advenc.data.volumes.reading import read_case
from monai_advenc.data.volumes.stored_volume import read_stored_case
from monai_advenc.errors import MaskError, VolumeError

MILLIMETERS = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
"""Of one unit of xyzt_units (nifti1.h: NIFTI_UNITS_METER 1, MM 2, MICRON 3)."""

SHAPE = (9, 8, 7)

SECONDS = 8
"""The time's unit lies in the same byte."""

KINDS = (nibabel.Nifti1Image, nibabel.Nifti2Image)


def tumor() -> np.ndarray[Any, Any]:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 3:7, 4] = 1
    return mask


def save(
    path: Path,
    values: np.ndarray[Any, Any],
    sform: tuple[np.ndarray[Any, Any], int],
    qform: tuple[np.ndarray[Any, Any], int],
    unit: int,
    kind: Any = nibabel.Nifti1Image,
) -> Path:
    """Forms in mm are written in the unit."""
    scale = np.diag([1 / MILLIMETERS[unit]] * 3 + [1])
    image = kind(values, None)
    image.set_qform(scale @ qform[0], qform[1])
    image.set_sform(scale @ sform[0], sform[1])
    image.header["xyzt_units"] = unit + SECONDS
    nibabel.save(image, path)
    return path


def grid(sides: tuple[float, float, float], origin: tuple[float, float, float]) -> np.ndarray[Any, Any]:
    affine = np.diag([*sides, 1.0])
    affine[:3, 3] = origin
    return affine


def voxels() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(50, 900, SHAPE).astype(np.int16)


SIDES = st.tuples(*[st.floats(0.002, 8)] * 3)
ORIGINS = st.tuples(*[st.floats(-90, 90)] * 3)


@settings(max_examples=60, deadline=None)
@given(
    units=st.tuples(*[st.sampled_from(sorted(MILLIMETERS))] * 2),
    codes=st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(any),
    sides=SIDES,
    origin=ORIGINS,
    kind=st.sampled_from(KINDS),
)
def test_areas_and_places_are_in_millimeters_in_every_unit_and_form(
    units: tuple[int, int],
    codes: tuple[int, int],
    sides: tuple[float, float, float],
    origin: tuple[float, float, float],
    kind: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("units")
    # In units of a side: 32-bit numbers far from 0 cannot place small voxels.
    form = grid(sides, (origin[0] * sides[0], origin[1] * sides[1], origin[2] * sides[2]))
    sform, qform = (form, codes[0]), (form, codes[1])
    image = save(folder / "image.nii", voxels(), sform, qform, units[0], kind)
    mask = save(folder / "seg.nii", tumor(), sform, qform, units[1], kind)
    case = Case("c", "a", image, mask)
    section = cut_cross_section(*volume_and_mask(case), SliceSettings(plane="axial", size=None))
    assert section.index == 4
    assert section.area_mm2 == pytest.approx(12 * sides[0] * sides[1], rel=1e-4)
    assert sorted(section.spacing) == pytest.approx(sorted(sides[:2]), rel=1e-4)
    for affine in (read_volume(image).affine, read_nifti_file(image).affine):
        np.testing.assert_allclose(affine, form, rtol=1e-4, atol=1e-4 * max(sides))
    one = read_nifti_slice(save(folder / "slice.nii", voxels()[:, :, :1], sform, qform, units[0], kind))
    corners = {"stored": (form, voxels().shape), "upright": (one.affine, one.upright.shape)}
    places = [
        sorted(
            (affine @ [i * (shape[0] - 1), j * (shape[1] - 1), 0, 1]).round(3).tolist() for i in (0, 1) for j in (0, 1)
        )
        for affine, shape in corners.values()
    ]
    np.testing.assert_allclose(*places, rtol=1e-4, atol=1e-3 + 1e-4 * max(sides))
    stored = read_stored_case(case, "axial", SliceSettings())
    assert stored.slices_to_encrypt("tumor", "c") == [4]


def volume_and_mask(case: Case) -> tuple[Any, Any]:
    return read_case(case, SliceSettings())


@settings(max_examples=40, deadline=None)
@given(
    codes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    unit=st.sampled_from(sorted(MILLIMETERS)),
    sides=SIDES,
    axis=st.integers(0, 2),
    moved=st.floats(0.5, 9),
    of_image=st.booleans(),
)
def test_a_mask_on_the_other_form_is_refused_by_name_and_nobody_is_told_to_interpolate_it(
    codes: tuple[int, int],
    unit: int,
    sides: tuple[float, float, float],
    axis: int,
    moved: float,
    of_image: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("forms")
    scanner, registered = grid(sides, (0, 0, 0)), grid(sides, (0, 0, 0))
    registered[axis, 3] += moved * sides[axis]
    two = {"sform": (registered, codes[0]), "qform": (scanner, codes[1])}
    one = {"sform": (scanner, 1), "qform": (scanner, 1)}
    image = save(folder / "image.nii", voxels(), **(two if of_image else one), unit=unit)
    mask = save(folder / "seg.nii", tumor(), **(one if of_image else two), unit=unit)
    case = Case("c", "a", image, mask)
    for read in (
        lambda: cut_cross_section(*volume_and_mask(case), SliceSettings()),
        lambda: read_stored_case(case, "axial", SliceSettings()),
    ):
        with pytest.raises(MaskError, match="sform and qform of") as error:
            read()
        (apart,) = re.findall(r"(\S+) mm apart", str(error.value))
        # Stored as float32, and printed with three digits.
        assert float(apart) == pytest.approx(moved * sides[axis], rel=0.006)
        assert "but by the qform" in str(error.value)
        assert str(image if of_image else mask) in str(error.value)
        assert "resampl" not in str(error.value)
        assert "\n" not in str(error.value)


def test_forms_that_disagree_do_not_matter_where_image_and_mask_have_the_same(tmp_path: Path) -> None:
    sides = (1.0, 1.0, 2.0)
    forms = {"sform": (grid(sides, (4, -6, 10)), 2), "qform": (grid(sides, (0, 0, 0)), 1)}
    image = save(tmp_path / "image.nii", voxels(), **forms, unit=2)
    mask = save(tmp_path / "seg.nii", tumor(), **forms, unit=2)
    case = Case("c", "a", image, mask)
    assert cut_cross_section(*volume_and_mask(case), SliceSettings()).index == 4
    # The sform is still what is read, as by nibabel.
    np.testing.assert_allclose(read_volume(image).affine, forms["sform"][0])


def test_a_mask_with_its_axes_exchanged_by_the_other_form_is_refused_the_same(tmp_path: Path) -> None:
    own, turned = grid((1, 1, 2), (0, 0, 0)), np.eye(4)[[1, 0, 2, 3]]
    image = save(tmp_path / "image.nii", voxels(), (own, 1), (own, 1), 2)
    mask = save(tmp_path / "seg.nii", tumor(), (turned, 2), (own, 1), 2)
    with pytest.raises(MaskError, match="sform and qform of") as error:
        cut_cross_section(*volume_and_mask(Case("c", "a", image, mask)), SliceSettings())
    assert "resampl" not in str(error.value)


def test_a_mask_of_tiny_voxels_that_lies_one_voxel_away_is_refused(tmp_path: Path) -> None:
    side = 0.005
    here, there = grid((side,) * 3, (0, 0, 0)), grid((side,) * 3, (side, 0, 0))
    image = save(tmp_path / "image.nii", voxels(), (here, 1), (here, 1), 3)
    mask = save(tmp_path / "seg.nii", tumor(), (there, 1), (there, 1), 3)
    with pytest.raises(MaskError, match=r"0\.005 mm away"):
        cut_cross_section(*volume_and_mask(Case("c", "a", image, mask)), SliceSettings())


@pytest.mark.parametrize("kind", KINDS)
def test_a_qform_that_is_no_rotation_does_not_matter_where_there_is_an_sform(kind: Any, tmp_path: Path) -> None:
    form = grid((1, 2, 3), (4, 5, 6))
    path = save(tmp_path / "a.nii", voxels(), (form, 1), (form, 1), 2, kind)
    header = nibabel.load(path).header  # type: ignore[attr-defined]  # nibabel's images have it, its base class not
    content = bytearray(path.read_bytes())
    for name in ("quatern_b", "quatern_c"):
        kind_of_number, start, *_ = header.template_dtype.fields[name]
        content[start : start + kind_of_number.itemsize] = np.array(0.9, kind_of_number).tobytes()
    path.write_bytes(content)
    for read in (read_volume, read_mask, read_nifti_file):
        assert np.array_equal(read(path).affine, form)


@pytest.mark.parametrize(("unit", "kind"), list(product((4, 5, 6, 7), KINDS)))
def test_a_unit_that_nifti_does_not_define_is_refused_in_one_line(unit: int, kind: Any, tmp_path: Path) -> None:
    image = kind(voxels(), np.eye(4))
    image.header["xyzt_units"] = unit
    nibabel.save(image, tmp_path / "a.nii")
    for read in (read_volume, read_mask, read_nifti_file, read_nifti_slice):
        with pytest.raises(VolumeError, match=f"the unit {unit}") as error:
            read(tmp_path / "a.nii")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [nibabel.AnalyzeImage, nibabel.Spm99AnalyzeImage, nibabel.Spm2AnalyzeImage])
@pytest.mark.parametrize("suffix", [".hdr", ".img"])
def test_analyze_is_refused_because_its_sides_would_be_a_guess(kind: Any, suffix: str, tmp_path: Path) -> None:
    nibabel.save(kind(voxels(), np.diag([2.0, 2, 2, 1])), tmp_path / "a.img")
    for read in (read_volume, read_mask, read_nifti_slice):
        with pytest.raises(VolumeError, match="Analyze") as error:
            read((tmp_path / "a").with_suffix(suffix))
        assert "\n" not in str(error.value)
