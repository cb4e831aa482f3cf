# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Contours of radiotherapy structure sets (PS3.3, A.19) as masks on the grid of their images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from skimage.draw import polygon2mask

from monai_advenc.data.dicom.file import kind_of, read_dicom, reading
from monai_advenc.data.dicom.segment_choice import choose_segments
from monai_advenc.data.dicom.series import DicomSeries
from monai_advenc.data.volume import Volume
from monai_advenc.errors import MaskError

AREA_TYPES = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""Contours that enclose an area; points and open lines do not."""

BETWEEN_SLICES = 0.25
"""How far, in slices, a contour may lie from a slice; farther ones were drawn on other slices."""


def read_rtstruct(
    path: Path,
    image: DicomSeries,
    *,
    segments: tuple[str, ...] | None = None,
    numbers: tuple[int, ...] | None = None,
) -> Volume:
    """Read the contours of regions of interest.

    A voxel is inside when its center is. Contours of one region in one slice are combined by exclusive or, so that a
    contour inside another is a hole, as planning systems draw them; several regions are joined.

    Args:
        path: The structure set.
        image: The series that it was drawn on.
        segments: ROI Names that count as tumor, ``*`` standing for any characters.
        numbers: ROI Numbers that count as tumor. With neither, there must be only one region.

    Returns:
        Voxels ``(X, Y, Z)``, int32, 1 inside, on the image's grid.

    Raises:
        MaskError: A region is not there or has no contours, or contours lie elsewhere than the slices.
        VolumeError: Damaged, or no structure set.
    """
    dataset = read_dicom(path, pixels=True)
    with reading(path):
        if kind_of(dataset) != "contours":
            raise MaskError(f"{path} is no RT structure set ({dataset.get('Modality') or 'no modality'}); check it")
        regions = {int(roi.ROINumber): roi for roi in dataset.get("StructureSetROISequence") or []}
        names = {number: str(roi.get("ROIName") or "") for number, roi in regions.items()}
        chosen = choose_segments(names, segments, numbers, str(path))
        voxels = np.zeros(image.volume.voxels.shape, dtype=np.int32)
        for number in chosen:
            image.require_frame_of_reference(str(regions[number].get("ReferencedFrameOfReferenceUID") or ""), path)
            region = np.zeros(voxels.shape, dtype=bool)
            for contour in _contours(dataset, number):
                k, polygon = _place(contour, image.volume, path)
                region[:, :, k] ^= polygon2mask(region.shape[:2], polygon)
            if not region.any():
                raise MaskError(f"region {names[number]!r} of {path} encloses no voxel of its image; check the mask")
            voxels[region] = 1
        return Volume(voxels, image.volume.affine, str(path))


def _contours(dataset: Dataset, number: int) -> Iterator[NDArray[np.float64]]:
    """Corners ``(N, 3)`` of each contour of a region that encloses an area, in mm in LPS+."""
    for region in dataset.get("ROIContourSequence") or []:
        if int(region.ReferencedROINumber) != number:
            continue
        for contour in region.get("ContourSequence") or []:
            if str(contour.get("ContourGeometricType") or "") in AREA_TYPES:
                corners = np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3)
                if len(corners) >= 3:
                    yield corners


def _place(corners: NDArray[np.float64], grid: Volume, path: Path) -> tuple[int, NDArray[np.float64]]:
    """The slice that a contour lies on, and its corners there in (column, row)."""
    ras = corners * (-1, -1, 1)
    inverse = np.linalg.inv(grid.affine)
    places = ras @ inverse[:3, :3].T + inverse[:3, 3]
    k = round(float(places[:, 2].mean()))
    apart = float(np.abs(places[:, 2] - k).max())
    if apart > BETWEEN_SLICES or not 0 <= k < grid.voxels.shape[2]:
        raise MaskError(
            f"the mask {path} has a contour that lies on no slice of its image {grid.source} (nearest {k}, "
            f"{apart:.3g} slices off, of {grid.voxels.shape[2]}); give the structure set of this series"
        )
    return k, places[:, :2]
