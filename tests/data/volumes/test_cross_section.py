from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from monai_advenc.data.nifti import read_mask, read_volume
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.cross_section import SliceSettings, cut_cross_section, largest_cross_section
from monai_advenc.errors import ImageError, MaskError, SettingsError

AXCODES = ["".join(code) for axes in permutations(("LR", "AP", "SI")) for code in product(*axes)]
"""All 48 ways to store a volume."""

NATIVE = SliceSettings(size=None)


def head(seed: int = 0, shape: tuple[int, int, int] = (20, 24, 12)) -> tuple[Volume, Volume]:
    """A volume in RAS whose tumor is largest at z = 7, and its mask."""
    generator = np.random.default_rng(seed)
    voxels = generator.uniform(10, 200, shape).astype(np.float32)
    mask = np.zeros(shape, dtype=np.int32)
    for z, half in ((5, 1), (6, 2), (7, 3), (8, 2)):
        mask[8 - half : 8 + half, 14 - half : 14 + half, z] = 1
    affine = np.diag([0.9, 1.1, 3.0, 1.0])
    affine[:3, 3] = (-9, -12, -20)
    return Volume(voxels, affine, "image"), Volume(mask, affine, "mask")


def independent_choice(image: Path, mask: Path) -> tuple[int, float]:
    """Index from the inferior end and area in mm2 of the largest axial cross-section, by plain numpy."""
    loaded: Any = nibabel.load(mask)
    values = np.squeeze(loaded.get_fdata()) != 0
    codes = nibabel.aff2axcodes(loaded.affine)
    axis = next(place for place, code in enumerate(codes) if code in "SI")
    moved = np.moveaxis(values, axis, -1)
    if codes[axis] == "I":
        moved = moved[..., ::-1]
    areas = moved.sum(axis=(0, 1))
    spacing = [step for place, step in enumerate(loaded.header.get_zooms()[:3]) if place != axis]
    return int(areas.argmax()), float(areas.max() * spacing[0] * spacing[1])


REAL_CASES = [
    *(
        (f"nifti/{name}/image.nii.gz", f"nifti/{name}/seg.nii.gz")
        for name in (
            "brats2013_pat0003",
            "sts001_mr",
            "sts002_mr",
            "captk_shrunk",
            "msd_spleen2_crop",
            "pyrad_brain1",
        )
    ),
    ("awkward/derived/sts002_LAS/image.nii.gz", "awkward/derived/sts002_LAS/seg.nii.gz"),
    ("awkward/derived/sts002_bigendian/image.nii", "nifti/sts002_mr/seg.nii.gz"),
    ("awkward/derived/sts002_int16_slope/image.nii", "nifti/sts002_mr/seg.nii.gz"),
]


@pytest.mark.parametrize(("image", "mask"), REAL_CASES, ids=lambda name: name if "image" in name else "")
def test_real_volumes_are_cut_where_plain_numpy_says(shared_data: Path, image: str, mask: str) -> None:
    paths = shared_data / "volumes" / image, shared_data / "volumes" / mask
    section = cut_cross_section(read_volume(paths[0]), read_mask(paths[1]), NATIVE)
    index, area = independent_choice(*paths)
    assert section.index == index
    assert section.area_mm2 == pytest.approx(area, rel=1e-4)


def test_one_patient_in_four_files_gives_one_slice(shared_data: Path) -> None:
    folder = shared_data / "volumes"
    mask = read_mask(folder / "nifti/sts002_mr/seg.nii.gz")
    names = ("nifti/sts002_mr/image.nii.gz", "awkward/derived/sts002_bigendian/image.nii")
    names += ("awkward/derived/sts002_int16_slope/image.nii",)
    sections = [cut_cross_section(read_volume(folder / name), mask, NATIVE) for name in names]
    flipped = folder / "awkward/derived/sts002_LAS"
    sections.append(cut_cross_section(read_volume(flipped / "image.nii.gz"), read_mask(flipped / "seg.nii.gz"), NATIVE))
    for section in sections[1:]:
        # Scaled integers differ from floats by half a step.
        np.testing.assert_allclose(section.image, sections[0].image, atol=1e-3)
        assert np.array_equal(section.mask, sections[0].mask)
        np.testing.assert_allclose(section.affine, sections[0].affine, atol=1e-4)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("axcodes", AXCODES[::5])
def test_the_stored_orientation_does_not_matter(axcodes: str, plane: str) -> None:
    image, mask = head()
    plan = SliceSettings(size=None, plane=plane)  # type: ignore[arg-type]  # One of the three planes.
    expected = cut_cross_section(image, mask, plan)
    section = cut_cross_section(image.oriented(axcodes), mask.oriented(axcodes), plan)
    assert section.index == expected.index
    assert np.array_equal(section.image, expected.image)
    np.testing.assert_allclose(section.affine, expected.affine, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    axcodes=st.sampled_from(AXCODES),
    plane=st.sampled_from(["axial", "coronal", "sagittal"]),
    size=st.sampled_from([None, 16, 32, 48]),
    fit=st.sampled_from(["pad-or-crop", "resize"]),
    isotropic=st.sampled_from([None, 0.7, 2.0]),
)
def test_the_affine_says_where_in_the_patient_a_pixel_is(
    axcodes: str, plane: Any, size: int | None, fit: Any, isotropic: float | None
) -> None:
    """A volume whose intensity is its own world position: the slice must agree with its affine, pixel by pixel."""
    _, mask = head()
    grid = np.stack([*np.meshgrid(*map(np.arange, mask.voxels.shape), indexing="ij"), np.ones(mask.voxels.shape)], -1)
    world = grid @ mask.affine.T
    plan = SliceSettings(size=size, plane=plane, fit=fit, isotropic_mm=isotropic)
    for direction in range(3):
        image = Volume(world[..., direction].astype(np.float32), mask.affine, "position")
        if np.ptp(np.take(world[..., direction], 0, axis={"axial": 2, "coronal": 1, "sagittal": 0}[plane])) == 0:
            continue  # Constant within the slice.
        section = cut_cross_section(image.oriented(axcodes), mask.oriented(axcodes), plan)
        rows, columns = np.nonzero((section.image > 0.05) & (section.image < 0.95))
        places = np.stack([rows, columns, np.zeros(len(rows)), np.ones(len(rows))])
        expected = (section.affine @ places)[direction]
        measured = section.intensity.from_unit(section.image[rows, columns])
        # At the border, interpolation repeats the last pixel.
        np.testing.assert_allclose(measured, expected, atol=0.15)


def test_axial_slices_lie_as_radiologists_read_them() -> None:
    image, mask = head()
    marked = image.voxels.copy()
    marked[2, 20, 7] = 1e6  # Left (x is small in RAS), anterior.
    section = cut_cross_section(Volume(marked, image.affine, "image"), mask, NATIVE)
    row, column = np.unravel_index(section.image.argmax(), section.image.shape)
    assert row < section.image.shape[0] / 2  # Anterior is on top.
    assert column > section.image.shape[1] / 2  # The patient's left is on the image's right.


def test_the_first_slice_wins_on_ties() -> None:
    mask = np.zeros((4, 4, 6))
    mask[:2, :2, [1, 3, 4]] = 1
    assert largest_cross_section(mask) == 1
    assert largest_cross_section(mask, axis=0) == 0


def test_only_the_chosen_labels_count() -> None:
    image, mask = head()
    labels = mask.voxels.copy()
    labels[0:10, 0:10, 2] = 4
    both = Volume(labels, mask.affine, "mask")
    assert cut_cross_section(image, both, NATIVE).index == 2
    assert cut_cross_section(image, both, SliceSettings(size=None, labels=(1,))).index == 7
    with pytest.raises(MaskError, match=r"expected label 3, it holds 1, 4"):
        cut_cross_section(image, both, SliceSettings(size=None, labels=(3,)))


@pytest.mark.parametrize("size", [16, 20, 40])
def test_padding_and_cropping_keep_the_tumor(size: int) -> None:
    image, mask = head(shape=(60, 50, 12))
    section = cut_cross_section(image, mask, SliceSettings(size=size))
    assert section.image.shape == (size, size)
    assert section.mask.sum() == 36


def test_masks_that_do_not_belong_to_the_image_are_refused() -> None:
    image, mask = head()
    with pytest.raises(MaskError, match="another affine"):
        cut_cross_section(image, Volume(mask.voxels, np.eye(4), "mask"), NATIVE)
    with pytest.raises(MaskError, match="has shape"):
        cut_cross_section(image, Volume(mask.voxels[1:], mask.affine, "mask"), NATIVE)
    with pytest.raises(MaskError, match="is empty"):
        cut_cross_section(image, Volume(mask.voxels * 0, mask.affine, "mask"), NATIVE)
    with pytest.raises(ImageError, match="constant"):
        cut_cross_section(Volume(image.voxels * 0, image.affine, "image"), mask, NATIVE)


def test_an_image_and_a_mask_that_are_exchanged_are_refused() -> None:
    image, mask = head()
    image.voxels[:, :, np.arange(12) != 7] = 0  # So that the image, taken for a mask, is largest where the mask is.
    with pytest.raises(MaskError, match="are image and mask exchanged"):
        cut_cross_section(mask, image, SliceSettings())


def test_a_header_rounded_to_six_digits_still_fits() -> None:
    image, mask = head()
    assert cut_cross_section(image, Volume(mask.voxels, mask.affine + 1e-5, "mask"), NATIVE).index == 7


def test_settings_that_cannot_be_are_refused() -> None:
    for values in ({"plane": "oblique"}, {"size": 3}, {"isotropic_mm": 0}, {"fit": "stretch"}):
        with pytest.raises(SettingsError):
            SliceSettings(**values)
