# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Contours of radiotherapy structure sets (PS3.3, A.19) as masks on the grid of their images."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from monai_advenc.data.dicom.contours import ON_CONTOUR, Polygon, enclosed_pixels
from monai_advenc.data.dicom.file import kind_of, read_dicom, reading
from monai_advenc.data.dicom.segment_choice import choose_segments
from monai_advenc.data.dicom.series import DicomSeries
from monai_advenc.data.volume import Volume
from monai_advenc.errors import MaskError, without_commands

PLANAR, EXCLUSIVE = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"
"""Types of contours that enclose an area; points and open lines do not."""

NO_AREA = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
"""The other types that there are (PS3.3, C.8.8.6.3)."""

FARTHEST_MM = 1e6
"""No scanner reaches farther; NaN and infinity are no coordinates either."""

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

    Contours of one region in one slice are combined as :func:`monai_advenc.data.dicom.contours.enclosed_pixels` says;
    several regions are joined. Regions without contours, and points and open lines, add nothing.

    Args:
        path: The structure set.
        image: The series that it was drawn on.
        segments: ROI Names that count as tumor, ``*`` standing for any characters.
        numbers: ROI Numbers that count as tumor. With neither, there must be only one region.

    Returns:
        Voxels ``(X, Y, Z)``, int32, 1 inside, on the image's grid.

    Raises:
        MaskError: A region is not there, all chosen enclose no voxel, or a contour lies outside the image or between
            its slices.
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
        empty = []
        for number in chosen:
            image.require_frame_of_reference(str(regions[number].get("ReferencedFrameOfReferenceUID") or ""), path)
            name = without_commands(f"region {names[number]!r} of {path}")
            region = _region_voxels(dataset, number, image.volume, name)
            if not region.any():
                empty.append(repr(names[number]))
            voxels[region] = 1
        if len(empty) == len(chosen):
            raise MaskError(f"region {', '.join(empty)} of {path} encloses no voxel of its image; check the mask")
        return Volume(voxels, image.volume.affine, str(path))


def _region_voxels(dataset: Dataset, number: int, grid: Volume, name: str) -> NDArray[np.bool_]:
    """The voxels ``(X, Y, Z)`` of one region; ``name`` is for messages."""
    contours: dict[int, dict[str, list[Polygon]]] = defaultdict(lambda: {PLANAR: [], EXCLUSIVE: []})
    is_clipped = False
    for kind, corners in _contours(dataset, number, name):
        k, polygon = _place(corners, grid, name)
        is_clipped |= _reaches_beyond(polygon, grid, name)
        contours[k][kind].append(polygon)
    columns, rows, slices = grid.voxels.shape
    region = np.zeros((columns, rows, slices), dtype=bool)
    for k, found in contours.items():
        region[:, :, k] = enclosed_pixels(found[PLANAR], found[EXCLUSIVE], (columns, rows))
    if is_clipped:
        logging.getLogger(__name__).warning("%s reaches beyond its image; the part outside is left out", name)
    if contours and not region.any():
        logging.getLogger(__name__).warning("%s encloses no voxel of its image and adds nothing", name)
    return region


def _contours(dataset: Dataset, number: int, name: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Type and corners ``(N, 3)``, in mm in LPS+, of each contour of a region that encloses an area."""
    for region in dataset.get("ROIContourSequence") or []:
        if int(region.ReferencedROINumber) != number:
            continue
        for contour in region.get("ContourSequence") or []:
            kind = str(contour.get("ContourGeometricType") or "")
            if kind in (PLANAR, EXCLUSIVE):
                corners = np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3)
                if len(corners) >= 3:
                    yield kind, corners
            elif kind not in NO_AREA:
                raise MaskError(
                    f"{name} has a contour of the type {kind!r}, none that DICOM defines; expected {PLANAR}: "
                    "export the structure set again"
                )


def _reaches_beyond(polygon: Polygon, grid: Volume, name: str) -> bool:
    """Whether a contour lies in part outside the pixels of its slice; one that lies there as a whole is refused."""
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    first, last = -0.5, np.array(grid.voxels.shape[:2]) - 0.5
    if (high < first).any() or (low > last).any():
        raise MaskError(f"{name} has a contour outside its image {grid.source}; give the structure set of this series")
    return bool((low < first - ON_CONTOUR).any() or (high > last + ON_CONTOUR).any())


def _place(corners: NDArray[np.float64], grid: Volume, name: str) -> tuple[int, Polygon]:
    """The slice that a contour lies on, and its corners there in (column, row)."""
    if not (np.abs(corners) < FARTHEST_MM).all():
        raise MaskError(f"{name} has a contour with coordinates that are no places; export the structure set again")
    ras = corners * (-1, -1, 1)
    inverse = np.linalg.inv(grid.affine)
    places = ras @ inverse[:3, :3].T + inverse[:3, 3]
    k = round(float(places[:, 2].mean()))
    apart = float(np.abs(places[:, 2] - k).max())
    if apart > BETWEEN_SLICES or not 0 <= k < grid.voxels.shape[2]:
        raise MaskError(
            f"{name} has a contour that lies on no slice of its image {grid.source} (nearest {k}, "
            f"{apart:.3g} slices off, of {grid.voxels.shape[2]}); give the structure set of this series"
        )
    return k, places[:, :2]
