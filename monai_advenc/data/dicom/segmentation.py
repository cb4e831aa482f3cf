# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""DICOM segmentations (PS3.3, A.51) as masks on the grid of their images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.seg import Segmentation
from numpy.typing import NDArray

from monai_advenc.data.dicom.claims import require_claimed_pixels, require_whole_codestreams
from monai_advenc.data.dicom.file import kind_of, read_dicom, reading
from monai_advenc.data.dicom.frame import require_low_bits
from monai_advenc.data.dicom.plane import FramePlane, frame_planes
from monai_advenc.data.dicom.segment_choice import choose_segments, fill_unneeded_attributes
from monai_advenc.data.dicom.series import DicomSeries
from monai_advenc.data.volume import Volume
from monai_advenc.errors import MaskError

OFF_GRID = 0.1
"""How far, in voxels, the corner of a frame may lie from the image's grid: no pixel could belong to a neighbor."""

TUMOR_FRACTION = 0.5
"""From this part of Maximum Fractional Value on, a pixel of a fractional segmentation counts as tumor."""


def read_dicom_seg(
    path: Path,
    image: DicomSeries,
    *,
    segments: tuple[str, ...] | None = None,
    numbers: tuple[int, ...] | None = None,
) -> Volume:
    """Read a binary, fractional or label map segmentation.

    Frames are placed by where they lie, not by what they refer to; where frames are missing, there is no tumor.
    Overlapping segments are joined.

    Args:
        path: The segmentation.
        image: The series that it was drawn on.
        segments: Segment Labels that count as tumor, ``*`` standing for any characters.
        numbers: Segment Numbers that count as tumor. With neither, there must be only one segment.

    Returns:
        Voxels ``(X, Y, Z)``, int32, 1 inside the chosen segments, on the image's grid.

    Raises:
        MaskError: A segment is not there, all chosen are empty, the segmentation lies elsewhere than the image, or it
            is fractional and does not say which value a whole voxel has.
        VolumeError: Damaged, or no segmentation.

    Example:
        >>> from monai_advenc import read_dicom_seg, read_dicom_series
        >>> series = read_dicom_series(Path("study/T1"))
        >>> tumor = read_dicom_seg(Path("study/seg.dcm"), series, segments=("Tumor*",))
        >>> tumor.voxels.shape
        (16, 16, 4)
    """
    dataset = read_dicom(path, pixels=True)
    with reading(path):
        if kind_of(dataset) != "segmentation":
            raise MaskError(f"{path} is no DICOM segmentation ({dataset.get('Modality') or 'no modality'}); check it")
        require_low_bits(dataset, path)
        require_claimed_pixels(dataset, path)
        require_whole_codestreams(dataset, path)
        image.require_frame_of_reference(str(dataset.get("FrameOfReferenceUID") or ""), path)
        fill_unneeded_attributes(dataset)
        seg = Segmentation.from_dataset(dataset, copy=False)
        names = {int(n): str(seg.get_segment_description(n).segment_label) for n in seg.segment_numbers if n}
        chosen = choose_segments(names, segments, numbers, str(path))
        voxels = np.zeros(image.volume.voxels.shape, dtype=np.int32)
        for plane, tumor in _tumor_frames(seg, path, chosen):
            if tumor.any():
                _paint(voxels, tumor, _index_map(plane, image.volume, path), path)
        if not voxels.any():
            empty = ", ".join(repr(names[number]) for number in chosen)
            raise MaskError(f"segment {empty} of the mask {path} is empty: it marks no pixel; check the mask")
        return Volume(voxels, image.volume.affine, str(path))


def _tumor_frames(
    seg: Segmentation, path: Path, chosen: tuple[int, ...]
) -> Iterator[tuple[FramePlane, NDArray[np.bool_]]]:
    """The frames of the chosen segments: where each lies, and its tumor ``(rows, columns)``."""
    stored: NDArray[Any] = seg.pixel_array
    stored = stored[None] if stored.ndim == 2 else stored
    planes = frame_planes(seg, path)
    kind = str(seg.SegmentationType)
    level = TUMOR_FRACTION * _whole_voxel(seg, stored, path) if kind == "FRACTIONAL" else 1
    for plane, number, pixels in zip(planes, _segment_numbers(seg, kind), stored, strict=True):
        if kind == "LABELMAP":
            tumor = np.isin(pixels, chosen)
        elif number in chosen:
            tumor = pixels >= level
        else:
            continue
        if plane is None:
            raise MaskError(f"the mask {path} does not say where its frames lie; give one with plane positions")
        yield plane, tumor


def _whole_voxel(seg: Segmentation, stored: NDArray[Any], path: Path) -> int:
    """The stored value of a voxel that is all tumor, in a fractional segmentation."""
    largest = int(seg.get("MaximumFractionalValue") or 0)
    if largest < 1 or stored.max(initial=0) > largest:
        raise MaskError(
            f"the mask {path} is fractional, and its Maximum Fractional Value is {largest or 'missing'} with values up "
            f"to {stored.max(initial=0)}: half a voxel is unknown; export it again, or as a binary segmentation"
        )
    return largest


def _segment_numbers(seg: Segmentation, kind: str) -> list[int]:
    """For each frame, the segment that it shows; a label map's frames show all."""
    groups = seg.PerFrameFunctionalGroupsSequence
    if kind == "LABELMAP":
        return [0] * len(groups)
    shared = seg.SharedFunctionalGroupsSequence[0]
    places = [group if "SegmentIdentificationSequence" in group else shared for group in groups]
    return [int(place.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for place in places]


def _index_map(plane: FramePlane, grid: Volume, path: Path) -> NDArray[np.int64]:
    """Integer 3x3, from (column, row, 1) of a frame to voxel indices of the grid."""
    exact = (np.linalg.inv(grid.affine) @ plane.affine(plane.normal))[:3, [0, 1, 3]]
    rounded: NDArray[np.int64] = np.rint(exact).astype(np.int64)
    axes = np.abs(rounded[:, :2])
    is_aligned = (axes.sum(axis=0) == 1).all() and (axes.sum(axis=1) <= 1).all()
    farthest = max(grid.voxels.shape) - 1
    corners = np.array([[x, y, 1] for x in (0, farthest) for y in (0, farthest)])
    apart = float(np.abs(corners @ (exact - rounded).T).max())
    if not is_aligned or apart > OFF_GRID:
        raise MaskError(
            f"the mask {path} does not lie on the grid of its image {grid.source} (up to {apart:.3g} voxels off); "
            "give the segmentation of this series, or resample it onto the image"
        )
    return rounded


def _paint(voxels: NDArray[np.int32], tumor: NDArray[np.bool_], index_map: NDArray[np.int64], path: Path) -> None:
    rows, columns = np.nonzero(tumor)
    places = np.stack([columns, rows, np.ones_like(rows)], axis=1) @ index_map.T
    if (places < 0).any() or (places >= voxels.shape).any():
        raise MaskError(f"the mask {path} marks tumor outside its image; give the segmentation of this series")
    voxels[tuple(places.T)] = 1
