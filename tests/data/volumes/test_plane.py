"""Which plane a volume was acquired in, whatever axes its file stores and however it is turned."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from monai_advenc.data.dicom.series import read_dicom_series
from monai_advenc.data.nifti import read_volume
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.cross_section import SliceSettings, cut_cross_section
from monai_advenc.data.volumes.plane import acquired_plane, count_planes, say_planes
from monai_advenc.data.volumes.stored_volume import read_stored_volume
from tests.data.dicom.dicom_phantom import write_series

STORED = list(product(permutations(range(3)), product((1, -1), repeat=3)))
"""All 48 ways to store a volume: which axis of the patient each stored axis follows, and in which direction."""

NAMES = ("sagittal", "coronal", "axial")
"""The plane across the patient's right-left, front-back and foot-head direction."""

ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
}
"""Image Orientation (Patient) of scanners' slices, by PS3.3, C.7.6.2.1.1."""


class Lines:
    """Keeps the lines that a function says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def turned(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    """A rotation about the three axes of the patient, one after the other."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[one, one] = step[other, other] = np.cos(angle)
        step[one, other], step[other, one] = -np.sin(angle), np.sin(angle)
        matrix = step @ matrix
    return matrix


def affine_of(stored: Any, spacing: tuple[float, float, float], rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """An affine whose stored axis ``k`` follows the patient's axis ``order[k]``, then turned."""
    order, signs = stored
    axes = np.zeros((3, 3))
    for k in range(3):
        axes[order[k], k] = signs[k] * spacing[k]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rotation @ axes, (12.5, -40, 7)
    return affine


def expected_plane(normal: NDArray[np.float64]) -> str:
    """The plane whose normal is nearest to a direction, up to 45 degrees off."""
    return NAMES[int(np.abs(normal).argmax())]


angle = st.floats(-25, 25)
fine = st.floats(0.2, 2)


@settings(max_examples=200, deadline=None)
@given(
    stored=st.sampled_from(STORED),
    in_plane=st.tuples(fine, fine),
    ratio=st.floats(0.3, 8),
    across=st.integers(0, 2),
    angles=st.tuples(angle, angle, angle),
    as_file=st.booleans(),
)
def test_nifti_is_cut_across_the_coarsest_spacing(
    tmp_path_factory: pytest.TempPathFactory,
    stored: Any,
    in_plane: tuple[float, float],
    ratio: float,
    across: int,
    angles: tuple[float, float, float],
    as_file: bool,
) -> None:
    """The axis that is coarser than both others by more than a fifth decides, by its direction in the patient."""
    spacing = list(in_plane)
    spacing.insert(across, ratio * max(in_plane))
    rotation = turned(angles)
    affine = affine_of(stored, (spacing[0], spacing[1], spacing[2]), rotation)
    ranked = sorted(range(3), key=lambda k: -spacing[k])
    excess = spacing[ranked[0]] / spacing[ranked[1]]
    if abs(excess - 1.2) < 1e-3:
        return  # Rounding decides there.
    # Each stored axis follows the direction of the patient that it did before the turn, of at most 3 x 25 degrees, only
    # if no other one is nearer; the nearest assignment is unclear close to 45 degrees.
    cosines = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    if (np.sort(cosines, axis=0)[-2] > 0.65).any():
        return
    volume = Volume(np.zeros((4, 5, 6), dtype=np.float32), affine, "v")
    if as_file:
        path = tmp_path_factory.mktemp("v") / "v.nii"
        voxels = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
        nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
        volume = read_volume(path)
        assert read_stored_volume(path).plane == acquired_plane(volume)
    assert acquired_plane(volume) == (expected_plane(affine[:3, ranked[0]]) if excess > 1.2 else "axial")


@pytest.mark.parametrize(
    ("spacing", "plane"),
    [
        ((1, 1, 1), "axial"),
        ((1.2, 1, 1), "axial"),
        ((1.21, 1, 1), "sagittal"),
        ((0.5, 3, 0.5), "coronal"),
        ((3, 3, 0.5), "axial"),  # No axis is coarser than both others.
    ],
)
def test_spacings_within_a_fifth_are_axial(spacing: tuple[float, float, float], plane: str, tmp_path: Path) -> None:
    affine = np.diag([*spacing, 1.0])
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), dtype=np.float32), affine), tmp_path / "v.nii")
    assert acquired_plane(read_volume(tmp_path / "v.nii")) == plane


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_nifti_file_of_one_slice_lies_in_the_plane_of_that_slice(axis: int) -> None:
    shape = [8, 9, 10]
    shape[axis] = 1
    assert acquired_plane(Volume(np.zeros(shape), np.diag([1.0, 1, 1, 1]), "v")) == NAMES[axis]
    assert acquired_plane(Volume(np.zeros(shape), np.diag([2.0, 1, 3, 1]), "v")) == NAMES[axis]


@settings(max_examples=40, deadline=None)
@given(
    plane=st.sampled_from(sorted(ORIENTATIONS)),
    count=st.sampled_from([1, 6]),
    flips=st.tuples(st.sampled_from([1, -1]), st.sampled_from([1, -1])),
    transposed=st.booleans(),
    angles=st.tuples(angle, angle, angle),
    thick=st.booleans(),
)
def test_dicom_is_cut_in_its_own_slices(
    tmp_path_factory: pytest.TempPathFactory,
    plane: str,
    count: int,
    flips: tuple[int, int],
    transposed: bool,
    angles: tuple[float, float, float],
    thick: bool,
) -> None:
    """Whatever the spacings, the plane is the one of rows and columns, and the cut is a stored slice."""
    rows, columns = (
        np.array(ORIENTATIONS[plane][start : start + 3]) * flip for start, flip in ((0, flips[0]), (3, flips[1]))
    )
    if transposed:
        rows, columns = columns, rows
    rotation = turned(angles)
    rows, columns = rotation @ rows, rotation @ columns
    normal = np.cross(rows, columns)
    directions = np.abs([rows, columns, normal])
    if (np.sort(directions, axis=1)[:, -2] > 0.65).any():
        return
    folder = tmp_path_factory.mktemp("series")
    stored = np.random.default_rng(3).integers(0, 900, (count, 12, 10)).astype(np.int16)
    step = normal * (3.0 if thick else 0.4)
    write_series(folder, stored, orientation=(*rows, *columns), step=tuple(step), rescale=None)
    series = read_dicom_series(folder)
    assert acquired_plane(series.volume) == expected_plane(normal)
    assert acquired_plane(series.volume.oriented("LSA")) == expected_plane(normal)
    assert read_stored_volume(folder).plane == expected_plane(normal)
    mask = np.zeros(series.volume.voxels.shape, dtype=np.int32)
    mask[3:6, 4:8, count // 2] = 1
    section = cut_cross_section(series.volume, Volume(mask, series.volume.affine, "mask"), SliceSettings(size=None))
    assert section.plane == expected_plane(normal)
    assert sorted(section.image.shape) == [10, 12]
    # Up to a turn, the pixels are those of the file's own slice, the brightest and darkest half percent clipped.
    own = series.volume.voxels[:, :, count // 2]
    own = section.intensity.to_unit(own)
    turns = [np.rot90(each, k) for each in (own, own.T) for k in range(4)]
    assert any(each.shape == section.image.shape and np.allclose(each, section.image, atol=1e-6) for each in turns)


def test_a_picture_without_position_is_read_as_it_is_stored(tmp_path: Path) -> None:
    def unplaced(dataset: Any, k: int) -> None:
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient

    write_series(tmp_path, np.arange(120, dtype=np.int16).reshape(1, 12, 10), change=unplaced)
    assert acquired_plane(read_dicom_series(tmp_path).volume) == "axial"


def test_the_planes_are_said_in_one_line_and_several_are_warned_of() -> None:
    output: Any = Lines()
    say_planes(count_planes(["sagittal", "sagittal"]), output)
    assert output.lines == ["Plane as acquired: sagittal for 2 cases."]
    output.lines.clear()
    say_planes(count_planes(["sagittal", "axial", "sagittal"]), output)
    assert output.lines[0] == "Plane as acquired: axial for 1 case, sagittal for 2 cases."
    assert output.lines[1].startswith("Warning: the slices lie in 2 different planes")
