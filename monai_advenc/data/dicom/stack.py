# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The order of a series' frames along the normal of their planes, and the one regular grid that they lie on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monai_advenc.data.dicom.frame import DicomFrame
from monai_advenc.data.dicom.plane import FramePlane
from monai_advenc.data.volume import Affine
from monai_advenc.errors import VolumeError
from monai_advenc.files.names import in_short

SAME_DIRECTION = 2e-3
"""How far the parts of the unit vectors of two slices may differ; headers round their numbers."""

SAME_POSITION_MM = 1e-3
"""Slices nearer to each other than this lie at one position."""

IRREGULAR = 0.05
"""How far, as part of the distance of slices, a slice may lie from its place on the regular grid."""


def stack_frames(frames: Sequence[DicomFrame], source: str) -> tuple[tuple[DicomFrame, ...], Affine]:
    """Sort frames and find their grid.

    With a gantry tilt, the third axis of the affine is not at right angles to the slices.

    Args:
        frames: The frames of one series; at least one.
        source: Name of the series, for messages.

    Returns:
        The frames in order of their position along the normal, and the 4x4 affine from (column, row, slice) to RAS+
        mm. One frame without a position is taken as an axial slice at the origin.

    Raises:
        VolumeError: The frames are no regular volume.
    """
    _require_alike(frames, source)
    planes = [frame.plane for frame in frames if frame.plane is not None]
    if len(planes) < len(frames):
        if len(frames) == 1:
            spacing = frames[0].unplaced_spacing
            return tuple(frames), np.diag([-spacing[1], -spacing[0], frames[0].thickness or 1.0, 1.0])
        raise VolumeError(
            f"{source} has {len(frames)} frames, {len(frames) - len(planes)} without position or orientation: "
            "expected slices of a volume; give the frames that belong to one volume, with their positions"
        )
    _require_parallel(planes, source)
    if len(frames) == 1:
        return tuple(frames), planes[0].affine(planes[0].normal * (frames[0].thickness or 1.0))
    positions = np.array([plane.position for plane in planes])
    along = positions @ planes[0].normal
    order = np.argsort(along, kind="stable")
    _require_complete(along[order], source)
    _require_regular(positions[order], source)
    step = (positions[order[-1]] - positions[order[0]]) / (len(frames) - 1)
    return tuple(frames[k] for k in order), planes[order[0]].affine(step)


def _require_alike(frames: Sequence[DicomFrame], source: str) -> None:
    shapes = sorted({frame.shape for frame in frames})
    if len(shapes) > 1:
        found = in_short([f"{rows}x{columns}" for rows, columns in shapes])
        raise VolumeError(f"{source} has slices of different size ({found}); take out those that are not of the volume")
    if len({frame.inverted for frame in frames}) > 1:
        raise VolumeError(f"{source} mixes MONOCHROME1 and MONOCHROME2; give each its own folder")


def _require_parallel(planes: Sequence[FramePlane], source: str) -> None:
    directions = np.array([plane.rows + plane.columns for plane in planes])
    if np.abs(directions - directions[0]).max() > SAME_DIRECTION:
        raise VolumeError(f"{source} has slices of different orientation; take out localizers and other planes")
    spacings = np.array([plane.spacing for plane in planes])
    if not np.allclose(spacings, spacings[0], rtol=1e-3, atol=0):
        raise VolumeError(f"{source} has slices of different pixel spacing; take out those that are not of the volume")


def _require_complete(along: NDArray[np.float64], source: str) -> None:
    """Exactly one frame at each position, and no position left out; ``along`` is sorted."""
    gaps = np.diff(along)
    if gaps.min() < SAME_POSITION_MM:
        positions = 1 + int(np.count_nonzero(gaps >= SAME_POSITION_MM))
        raise VolumeError(
            f"{source} has {len(along)} images at {positions} positions (time points, echoes, b-values, "
            "reconstructions): expected one volume; give one of them"
        )
    wide = np.flatnonzero(gaps > 1.5 * np.median(gaps))
    if wide.size:
        k = int(wide[0])
        missing = sum(round(float(gap / np.median(gaps))) - 1 for gap in gaps[wide])
        raise VolumeError(
            f"{source} lacks {max(missing, 1)} of its slices, the first between {along[k]:.6g} and "
            f"{along[k + 1]:.6g} mm along the normal (spacing {np.median(gaps):.4g} mm); get the whole series"
        )


def _require_regular(positions: NDArray[np.float64], source: str) -> None:
    """Equal steps from slice to slice, in direction too; ``positions`` ``(N, 3)`` is sorted."""
    count = len(positions)
    step = (positions[-1] - positions[0]) / (count - 1)
    expected = positions[0] + np.arange(count)[:, None] * step
    spacing = np.linalg.norm(step)
    apart = np.linalg.norm(positions - expected, axis=1).max()
    if apart > IRREGULAR * spacing:
        raise VolumeError(
            f"{source} has slices at irregular positions ({apart:.3g} mm off a regular grid of {spacing:.4g} mm); "
            "resample the series first"
        )
