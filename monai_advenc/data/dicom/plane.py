# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Position, orientation and spacing of the frames of a DICOM object, from the data set or functional groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from monai_advenc.data.dicom.file import numbers
from monai_advenc.data.volume import Affine
from monai_advenc.errors import VolumeError

PIXEL_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
"""Distances in the patient come first; those on the detector serve where there are no others."""

_OUT_OF_SQUARE = 0.01
"""How far row and column direction may be from right angles and unit length; headers round their numbers."""


@dataclass(frozen=True)
class FramePlane:
    """Where the pixels of a frame lie (PS3.3, C.7.6.2), in mm in DICOM's LPS+ patient coordinates.

    Attributes:
        position: Center of the first pixel.
        rows: Unit vector along a row, in the direction of increasing column index.
        columns: Unit vector along a column, in the direction of increasing row index.
        spacing: Distance of neighboring rows, and of neighboring columns.
    """

    position: tuple[float, float, float]
    rows: tuple[float, float, float]
    columns: tuple[float, float, float]
    spacing: tuple[float, float]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector along which slices are sorted: ``rows`` x ``columns``."""
        normal: NDArray[np.float64] = np.cross(self.rows, self.columns)
        return normal / np.linalg.norm(normal)

    def affine(self, step: NDArray[np.float64]) -> Affine:
        """4x4, from (column, row, slice) to RAS+ world coordinates in mm; ``step`` leads to the next slice in LPS+."""
        affine = np.eye(4)
        affine[:3, 0] = np.multiply(self.rows, self.spacing[1])
        affine[:3, 1] = np.multiply(self.columns, self.spacing[0])
        affine[:3, 2] = step
        affine[:3, 3] = self.position
        lps_to_ras: Affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        return lps_to_ras


def frame_planes(dataset: Dataset, path: Path) -> tuple[FramePlane | None, ...]:
    """Where each frame lies, of any object that has frames; ``None`` where the file does not say.

    Raises:
        VolumeError: The position is damaged, or the file describes another number of frames than it has.
    """
    groups, shared = functional_groups(dataset, path)
    return tuple(plane_of((group, shared, dataset), path) for group in groups or [Dataset()])


def functional_groups(dataset: Dataset, path: Path) -> tuple[Sequence[Dataset], Dataset]:
    """Those of each frame, none in a classic file, and those that all frames share (PS3.3, C.7.6.16)."""
    count = int(dataset.get("NumberOfFrames") or 1)
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if count < 1 or (groups and len(groups) != count):
        raise VolumeError(
            f"{path} describes {len(groups)} frames; expected {count}, its Number of Frames: get the file again"
        )
    return groups, (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]


def functional_group(places: tuple[Dataset, ...], name: str) -> Dataset:
    """A functional group's item: of the frame, else shared by all frames, else the data set of a single-frame file."""
    for place in places[:-1]:
        if place.get(name):
            item: Dataset = place[name].value[0]
            return item
    return places[-1]


def plane_of(places: tuple[Dataset, ...], path: Path) -> FramePlane | None:
    """Where a frame lies, by the places where its attributes may be; ``None`` where the file does not say.

    Raises:
        VolumeError: Position without spacing, or directions that are not at right angles.
    """
    position = numbers(functional_group(places, "PlanePositionSequence"), "ImagePositionPatient", 3)
    directions = numbers(functional_group(places, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    if position is None or directions is None:
        return None
    spacing = pixel_spacing(functional_group(places, "PixelMeasuresSequence"))
    if spacing is None:
        raise VolumeError(f"{path} has a position but no pixel spacing; get the file again")
    rows, columns = np.array(directions[:3]), np.array(directions[3:])
    lengths = np.linalg.norm(rows), np.linalg.norm(columns)
    if max(abs(length - 1) for length in lengths) > _OUT_OF_SQUARE or abs(rows @ columns) > _OUT_OF_SQUARE:
        raise VolumeError(f"{path} has the orientation {directions}; expected two unit vectors at right angles")
    row, column = rows / lengths[0], columns / lengths[1]
    return FramePlane(
        position=(position[0], position[1], position[2]),
        rows=(float(row[0]), float(row[1]), float(row[2])),
        columns=(float(column[0]), float(column[1]), float(column[2])),
        spacing=spacing,
    )


def pixel_spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Distance of neighboring rows and of neighboring columns in mm; ``None`` where the file does not say."""
    for keyword in PIXEL_SPACINGS:
        spacing = numbers(dataset, keyword, 2)
        if spacing is not None:
            if min(spacing) <= 0:
                raise VolumeError(f"{keyword} is {spacing}; expected two positive numbers")
            return spacing[0], spacing[1]
    return None
