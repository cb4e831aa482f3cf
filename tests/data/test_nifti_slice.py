"""Single slices stored as NIfTI show what the slices of their volumes show, however they are stored."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from monai_advenc.data.anatomical_planes import PLANES, plane_across
from monai_advenc.data.images.reading import read_affine, read_image, read_region
from monai_advenc.data.images.writing import encode_image, encode_mask
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.cross_section import SliceSettings, cut_cross_section
from monai_advenc.errors import ImageError

SHAPE = (4, 5, 6)
COUNT = 4 * 5 * 6
ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
"""All ways in which the axes of a volume can lie along those of the world."""

TOWARD = {"axial": ((0, -1, 0), (-1, 0, 0)), "coronal": ((0, 0, -1), (-1, 0, 0)), "sagittal": ((0, 0, -1), (0, -1, 0))}
"""Where rows and columns of an upright slice lead, in RAS."""

ACROSS = ("sagittal", "coronal", "axial")

angles = st.tuples(*[st.floats(-20, 20)] * 3)
any_angles = st.tuples(st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180))


def affine_of(orientation: tuple[Any, Any], turn: tuple[float, ...], origin: float = 7.0) -> NDArray[np.float64]:
    """Axes along the world's, in this order and these directions, then turned by angles in degrees."""
    order, signs = orientation
    axes = np.zeros((3, 3))
    axes[list(order), range(3)] = signs
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ axes @ np.diag([1.0, 1.5, 2.0])
    affine[:3, 3] = (origin, -3, 11)
    # As NIfTI stores it, which decides ties.
    return affine.astype(np.float32).astype(np.float64)


def numbered() -> NDArray[np.float32]:
    """A volume in which each voxel has its own value in [0, 1]."""
    return (np.arange(COUNT, dtype=np.float32) / COUNT).reshape(SHAPE)


def voxels_of(pixels: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which voxel ``(x, y, z)`` each pixel is, ``(H, W, 3)``."""
    return np.stack(np.unravel_index(np.rint(pixels * COUNT).astype(int), SHAPE), axis=-1)


def require_places(path: Path, pixels: NDArray[np.float32], affine: NDArray[np.float64]) -> None:
    """Each pixel of the image as read must lie where its voxel lies in the volume."""
    found = read_affine(path)
    assert found is not None
    rows, columns = np.indices(pixels.shape)
    there = np.stack([rows, columns, np.zeros_like(rows)], axis=-1) @ found[:3, :3].T + found[:3, 3]
    np.testing.assert_allclose(there, voxels_of(pixels) @ affine[:3, :3].T + affine[:3, 3], atol=1e-3)


@settings(max_examples=100, deadline=None)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    turn=angles,
    axis=st.integers(0, 2),
    two_axes=st.booleans(),
    index=st.integers(0, 3),
)
def test_a_slice_cut_elsewhere_shows_what_the_slice_of_the_volume_shows(
    orientation: tuple[Any, Any],
    turn: tuple[float, ...],
    axis: int,
    two_axes: bool,
    index: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    affine, volume = affine_of(orientation, turn), numbered()
    cut = nibabel.Nifti1Image(volume, affine).slicer[
        tuple(slice(index, index + 1) if other == axis else slice(None) for other in range(3))
    ]
    if two_axes:  # A two-dimensional file keeps the direction across it in its third column.
        order = [other for other in range(3) if other != axis] + [axis, 3]
        cut = nibabel.Nifti1Image(np.squeeze(np.asarray(cut.dataobj), axis), cut.affine[:, order])
    path = tmp_path_factory.mktemp("slice") / "a.nii.gz"
    nibabel.save(cut, path)
    # By cosines alone: which stored axis lies nearest to the direction that rows and columns lead to.
    plane = ACROSS[orientation[0][axis]]
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.array(TOWARD[plane]) @ directions
    nearest = np.abs(cosines).argmax(axis=1)
    expected = volume.transpose([*nearest, axis])[:, :, index]
    for place in range(2):
        expected = np.flip(expected, place) if cosines[place, nearest[place]] < 0 else expected
    found = read_image(path)[0].numpy()
    assert np.array_equal(found, expected)
    require_places(path, found, affine)


@settings(max_examples=100, deadline=None)
@given(orientation=st.sampled_from(ORIENTATIONS), turn=any_angles, axis=st.integers(0, 2), index=st.integers(0, 3))
def test_a_slice_of_any_oblique_volume_is_turned_as_the_volume_is(
    orientation: tuple[Any, Any],
    turn: tuple[float, ...],
    axis: int,
    index: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    affine, volume = affine_of(orientation, turn), numbered()
    path = tmp_path_factory.mktemp("slice") / "a.nii"
    span = tuple(slice(index, index + 1) if other == axis else slice(None) for other in range(3))
    nibabel.save(nibabel.Nifti1Image(volume, affine).slicer[span], path)
    plane, rising = plane_across(affine, axis)
    oriented = Volume(volume, affine, "v").oriented(PLANES[plane])
    expected = oriented.voxels[:, :, index if rising else SHAPE[axis] - 1 - index]
    found = read_image(path)[0].numpy()
    assert np.array_equal(found, expected)
    require_places(path, found, affine)


@settings(max_examples=100, deadline=None)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    turn=any_angles,
    plane=st.sampled_from(["axial", "coronal", "sagittal"]),
    size=st.sampled_from([None, 16]),
)
def test_slices_that_we_write_are_read_as_they_were_written(
    orientation: tuple[Any, Any],
    turn: tuple[float, ...],
    plane: Any,
    size: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    affine = affine_of(orientation, turn)
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[1:3, 2:4, 2:4] = 1
    volume = Volume(numbered(), affine, "v")
    section = cut_cross_section(volume, Volume(mask, affine, "m"), SliceSettings(plane=plane, size=size))
    path = tmp_path_factory.mktemp("own") / "a.nii.gz"
    path.write_bytes(encode_image(torch.from_numpy(section.image)[None], "nifti", section.affine))
    assert np.array_equal(read_image(path)[0].numpy(), section.image)
    np.testing.assert_allclose(read_affine(path), section.affine, atol=1e-3)


@settings(max_examples=100, deadline=None)
@given(orientation=st.sampled_from(ORIENTATIONS), turn=any_angles, channels=st.sampled_from([1, 3]))
def test_images_of_any_orientation_are_read_as_they_were_written(
    orientation: tuple[Any, Any], turn: tuple[float, ...], channels: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As DICOM images are, which keep their rows and columns: of a patient who lay prone, say."""
    affine = affine_of(orientation, turn)
    image = torch.from_numpy(np.random.default_rng(1).random((channels, 5, 7), dtype=np.float32))
    folder = tmp_path_factory.mktemp("own")
    (folder / "a.nii.gz").write_bytes(encode_image(image, "nifti", affine))
    assert torch.equal(read_image(folder / "a.nii.gz"), image)
    np.testing.assert_allclose(read_affine(folder / "a.nii.gz"), affine, atol=1e-3)
    # Axes of the world need no mark: their upright slices have the bytes that they always had.
    upright = np.array([[0, -1, 0, 5], [-1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    written = nibabel.Nifti1Image.from_bytes(gzip.decompress(encode_image(image, "nifti", upright)))
    assert not written.header["descrip"].item()


@pytest.mark.parametrize("stated", ["identity", "codes of 0"])
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 1, 1, 3)])
def test_files_without_geometry_stay_as_they_are_stored(stated: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    values = np.random.default_rng(2).random(shape, dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if stated == "identity" else None), tmp_path / "a.nii")
    found = read_image(tmp_path / "a.nii").numpy()
    assert np.array_equal(found, values.reshape(4, 6, -1).transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (1, 4, 6), (4, 1, 6), (4, 6, 3), (4, 6, 1, 3), (4, 6, 1, 1, 3)])
@pytest.mark.parametrize("orientation", ORIENTATIONS[::7])
def test_colors_and_region_masks_turn_with_their_image(
    shape: tuple[int, ...], orientation: tuple[Any, Any], tmp_path: Path
) -> None:
    values = np.random.default_rng(3).random(shape, dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(values, affine_of(orientation, (0, 0, 0))), tmp_path / "a.nii.gz")
    stored = values.reshape(4, 6, -1)
    (tmp_path / "a.mask.png").write_bytes(encode_mask(stored[:, :, 0] > 0.5))
    image, region = read_image(tmp_path / "a.nii.gz"), read_region(tmp_path / "a.mask.png", tmp_path / "a.nii.gz")
    assert image.shape[0] == stored.shape[2]
    assert torch.equal(region, image[:1] > 0.5)
    assert sorted(map(tuple, image.flatten(1).T.tolist())) == sorted(map(tuple, stored.reshape(24, -1).tolist()))


@pytest.mark.parametrize("shape", [(4, 6, 2), (4, 6, 1, 2), (4, 6, 5, 3), (4, 6, 3, 3), (2, 4, 6)])
def test_several_slices_are_no_image(shape: tuple[int, ...], tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.float32), np.diag([2.0, 2, 2, 1])), tmp_path / "a.nii")
    with pytest.raises(ImageError, match="expected one slice: cut volumes with monai-advenc slice") as error:
        read_image(tmp_path / "a.nii")
    assert str(shape) in str(error.value)
