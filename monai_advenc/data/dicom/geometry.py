# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The place of an image's pixels in a DICOM header."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from monai_advenc.data.dicom.file import numbers
from monai_advenc.data.dicom.functional_groups import home_of
from monai_advenc.data.dicom.plane import PIXEL_SPACINGS, pixel_spacing
from monai_advenc.data.volume import Affine

_OF_THE_OLD_PIXELS = (
    *("PixelAspectRatio", "ImagerPixelSpacing", "NominalScannedPixelSpacing"),
    *("PixelSpacingCalibrationType", "PixelSpacingCalibrationDescription"),
)
_OF_THE_OLD_PLANE = ("SliceLocation", "SpacingBetweenSlices")


@dataclass(frozen=True)
class NewGrid:
    """The new grid of a derived image whose pixels lie elsewhere than those of its source.

    Attributes:
        affine: 4x4, from (row, column, 0) to RAS+ world coordinates in mm.
        reformatted: Whether the plane is another than that of the source.
        placed: Whether the source has a position; without one (projections), only the spacings of the affine count.
    """

    affine: Affine
    reformatted: bool
    placed: bool = True


def set_geometry(derived: Dataset, grid: NewGrid) -> None:
    """Write position, orientation and spacing (PS3.3, C.7.6.2), and remove attributes of the old grid."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    spacing = np.linalg.norm(affine[:3, :2], axis=0)
    for tag in [tag for tag in list(derived.keys()) if tag.group >> 8 == 0x60]:
        del derived[tag]  # Overlays are drawn on the old grid.
    if not grid.placed:
        _set_spacings(derived, spacing)
        return
    down, right = (affine[:3, :2] / spacing).T
    home_of(derived, "PlanePositionSequence").ImagePositionPatient = _decimals(affine[:3, 3])
    orientation = home_of(derived, "PlaneOrientationSequence")
    before = numbers(orientation, "ImageOrientationPatient", 6)
    if before is None or not np.allclose(before, [*right, *down], atol=1e-4):
        derived.pop("PatientOrientation", None)  # Says in letters how rows and columns lay.
    orientation.ImageOrientationPatient = _decimals([*right, *down])
    home_of(derived, "PixelMeasuresSequence").PixelSpacing = _decimals(spacing)
    for keyword in (*_OF_THE_OLD_PIXELS, *(_OF_THE_OLD_PLANE if grid.reformatted else ())):
        derived.pop(keyword, None)
    measures = home_of(derived, "PixelMeasuresSequence")
    if grid.reformatted and "SliceThickness" in measures:
        measures.SliceThickness = None if measures is derived else _decimals([min(spacing)])[0]


def _set_spacings(derived: Dataset, spacing: NDArray[np.float64]) -> None:
    """Scale all spacings of an image without place, those in the patient and on the detector, by one factor."""
    before = pixel_spacing(derived)
    if before is None:
        return
    for keyword in PIXEL_SPACINGS:
        found = numbers(derived, keyword, 2)
        if found is not None:
            setattr(derived, keyword, _decimals(np.array(found) * spacing / before))


def _decimals(values: Iterable[float]) -> list[str]:
    return [format_number_as_ds(float(value) + 0.0) for value in np.round(np.asarray(list(values)), 10)]
