# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The slice of a volume with the largest tumor cross-section (section 5), as a two-dimensional image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import numpy as np
from nibabel.affines import from_matvec
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from scipy import ndimage

from monai_advenc.data.anatomical_planes import PLANES
from monai_advenc.data.images.padding import Padding
from monai_advenc.data.intensity import IntensityScale
from monai_advenc.data.nifti_affine import require_orientation
from monai_advenc.data.tumor import tumor_voxels
from monai_advenc.data.volume import Affine, Volume
from monai_advenc.data.volumes.plane import PlaneChoice, chosen_plane
from monai_advenc.data.volumes.same_grid import require_same_grid
from monai_advenc.errors import MaskError, VolumeError
from monai_advenc.settings import Settings

SIDE: Final = 320
"""Side in pixels of the paper's slices (section 5)."""

RIGHT_ANGLE_TOLERANCE = 0.01
"""Cosine of the angle between the axes of a slice that still counts as a right angle: about half a degree off."""


class SliceSettings(Settings):
    """How to cut a volume.

    Attributes:
        plane: Direction of the cut. ``"acquired"``: that of the volume's own slices, see
            :func:`monai_advenc.data.volumes.plane.acquired_plane`.
        labels: Mask values that count as tumor (DICOM: segment or ROI numbers); ``None``: all but 0.
        segments: Names of the segments or regions of DICOM masks that count as tumor, ``*`` standing for any
            characters; ``None``: there must be only one.
        size: Side in pixels of the result; ``None`` keeps the grid. The paper's is 320.
        fit: ``"pad-or-crop"`` keeps the pixels as they are and adds or removes border, ``"resize"`` interpolates.
        isotropic_mm: Resample the slice to square pixels of this side in mm first; ``None``: as they are.
        assume_orientation: Where the voxel axes of NIfTI, Analyze and MGH files point that do not say it: three
            letters, one for each axis, such as ``"RAS"`` for right, anterior, superior. ``None``: refuse such files.

    Raises:
        SettingsError: A value is unknown or out of its range.

    Example:
        >>> from monai_advenc import SliceSettings, check
        >>> slices = SliceSettings(plane="axial", size=32, fit="resize")
        >>> len(check("volumes", slices=slices, sheet=None).found.cases)
        100
    """

    plane: PlaneChoice = "acquired"
    labels: tuple[int, ...] | None = None
    segments: tuple[str, ...] | None = None
    size: int | None = Field(default=SIDE, ge=16)
    fit: Literal["pad-or-crop", "resize"] = "pad-or-crop"
    isotropic_mm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    assume_orientation: Annotated[str, AfterValidator(require_orientation)] | None = None


@dataclass(frozen=True)
class CrossSection:
    """A slice and where it came from.

    Attributes:
        image: ``(H, W)``, float32 in [0, 1].
        mask: ``(H, W)``, bool: the tumor.
        affine: 4x4, from ``(h, w, 0)`` to RAS+ world coordinates in mm.
        plane: Direction of the cut: axial, coronal or sagittal.
        index: Index of the slice in the volume oriented RAS.
        area_mm2: Area of the tumor in the slice, on the volume's own grid.
        intensity: The map from the file's units to [0, 1].
        spacing: Distance of neighboring pixels in mm, downward and to the right.
        tumor_kept: Share of the tumor's pixels that cropping kept; 1 if all.
        padding: What was added around the slice; ``None`` if nothing.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.bool_]
    affine: Affine
    plane: str
    index: int
    area_mm2: float
    intensity: IntensityScale
    spacing: tuple[float, float]
    tumor_kept: float = 1.0
    padding: Padding | None = None


def largest_cross_section(mask: NDArray[Any], axis: int = 2) -> int:
    """Index along ``axis`` of the slice of ``mask`` ``(X, Y, Z)`` with most nonzero voxels; the first on a tie.

    Raises:
        MaskError: The mask is empty.
    """
    areas = np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis))
    if not areas.any():
        raise MaskError("the mask is empty; check that it belongs to this volume")
    return int(areas.argmax())


def cut_cross_section(image: Volume, mask: Volume, settings: SliceSettings) -> CrossSection:
    """Cut the slice with the largest tumor area out of a volume.

    The slice is chosen on the volume's own voxels, before anything is resampled, whatever axes the file stores. Padding
    becomes black and has no part in the range of intensities; what viewers show inverted is inverted.

    Args:
        image: The volume.
        mask: Its label volume on the same grid.
        settings: Plane, labels, size.

    Returns:
        The slice, scaled to [0, 1].

    Raises:
        MaskError: Mask on another grid, or refused by :func:`monai_advenc.data.tumor.tumor_voxels`.
        VolumeError: The volume's axes are not at right angles in this plane.
        ImageError: The slice is constant.
    """
    require_same_grid(image, mask)
    plane = chosen_plane(settings.plane, image)
    axes = PLANES[plane]
    # The image's affine decides for both: rounded headers of oblique volumes may be named after different axes.
    found = tumor_voxels(mask.voxels, mask.source, settings.labels, image.voxels)
    tumor = Volume(found, image.affine, mask.source).oriented(axes)
    oriented = image.oriented(axes)
    _require_right_angles(oriented, plane)
    stored_index = largest_cross_section(tumor.voxels)
    pixels, region = oriented.voxels[:, :, stored_index], tumor.voxels[:, :, stored_index]
    affine = oriented.affine @ from_matvec(np.eye(3), (0, 0, stored_index))
    down, right, _ = oriented.spacing
    area = float(np.count_nonzero(region)) * down * right
    padding = None if oriented.padding is None else oriented.padding[:, :, stored_index]
    measured = pixels if padding is None else pixels[~padding]
    scale = IntensityScale.robust(measured, f"slice {stored_index} of {image.source}", inverted=image.inverted)
    unit = scale.to_unit(pixels)
    if padding is not None:
        unit[padding] = 0
    if settings.isotropic_mm is not None:
        shape = tuple(
            max(1, round(n * mm / settings.isotropic_mm)) for n, mm in zip(unit.shape, (down, right), strict=True)
        )
        unit, region, affine = _resize(unit, region, affine, (shape[0], shape[1]))
    kept, added, side = 1.0, None, settings.size
    if side is not None and settings.fit == "resize":
        unit, region, affine = _resize(unit, region, affine, (side, side))
    elif side is not None:
        whole, starts = np.count_nonzero(region), _starts(region, (side, side))
        added = Padding.of(starts, region.shape, (side, side))
        unit, region, affine = _pad_or_crop(unit, region, affine, (side, side), starts)
        kept = np.count_nonzero(region) / whole
    spacing = np.linalg.norm(affine[:3, :2], axis=0)
    return CrossSection(
        image=np.ascontiguousarray(unit, dtype=np.float32),
        mask=np.ascontiguousarray(region),
        affine=affine,
        plane=plane,
        index=stored_index,
        area_mm2=area,
        intensity=scale,
        spacing=(float(spacing[0]), float(spacing[1])),
        tumor_kept=kept,
        padding=added,
    )


def _require_right_angles(oriented: Volume, plane: str) -> None:
    """Refuse a plane in which a gantry tilt would show everything sheared."""
    down, right = (oriented.affine[:3, axis] / oriented.spacing[axis] for axis in (0, 1))
    if abs(down @ right) > RIGHT_ANGLE_TOLERANCE:
        angle = np.degrees(np.arccos(np.clip(down @ right, -1, 1)))
        raise VolumeError(
            f"{oriented.source} is sheared in {plane} slices ({angle:.3g} degrees between its axes, as from a gantry "
            "tilt); cut the plane in which it was taken, or resample it"
        )


Grid = tuple[NDArray[np.float32], NDArray[np.bool_], Affine]


def _resize(image: NDArray[np.float32], mask: NDArray[np.bool_], affine: Affine, shape: tuple[int, int]) -> Grid:
    """Interpolate to ``shape``; pixel edges stay where they were in the world."""
    factors = [old / new for old, new in zip(image.shape, shape, strict=True)]
    # Blurring before shrinking keeps fine texture from turning into false patterns.
    blurred = ndimage.gaussian_filter(image, [max(0.0, (factor - 1) / 2) for factor in factors])
    rows, columns = ((np.arange(new) + 0.5) * factor - 0.5 for new, factor in zip(shape, factors, strict=True))
    places = np.meshgrid(rows, columns, indexing="ij")
    resized = ndimage.map_coordinates(blurred, places, order=1, mode="nearest").clip(0, 1)
    region = ndimage.map_coordinates(mask.astype(np.uint8), places, order=0, mode="nearest").astype(bool)
    if mask.any() and not region.any():
        # A tumor smaller than the new pixels would fall between their centers.
        center = [
            round((place.mean() + 0.5) / factor - 0.5) for place, factor in zip(np.nonzero(mask), factors, strict=True)
        ]
        region[tuple(min(max(place, 0), new - 1) for place, new in zip(center, shape, strict=True))] = True
    scaling = np.diag([factors[0], factors[1], 1, 1])
    return resized, region, affine @ from_matvec(np.eye(3), (factors[0] / 2 - 0.5, factors[1] / 2 - 0.5, 0)) @ scaling


def _pad_or_crop(
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    affine: Affine,
    shape: tuple[int, int],
    starts: tuple[int, int],
) -> Grid:
    """Add black border or remove border, so that the result begins at row and column ``starts`` of the image."""
    padded, region = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
    source = tuple(
        slice(max(start, 0), min(start + new, old)) for start, old, new in zip(starts, image.shape, shape, strict=True)
    )
    target = tuple(slice(part.start - start, part.stop - start) for part, start in zip(source, starts, strict=True))
    padded[target], region[target] = image[source], mask[source]
    return padded, region, affine @ from_matvec(np.eye(3), (starts[0], starts[1], 0))


def _starts(mask: NDArray[np.bool_], shape: tuple[int, int]) -> tuple[int, int]:
    """Where to begin: centered, but moved as far as needed to keep the tumor inside."""
    first, second = (
        _start(old, new, np.any(mask, axis=1 - axis, keepdims=True).ravel())
        for axis, (old, new) in enumerate(zip(mask.shape, shape, strict=True))
    )
    return first, second


def _start(old: int, new: int, occupied: NDArray[np.bool_]) -> int:
    start = (old - new) // 2
    if old <= new:
        return start
    first, last = np.flatnonzero(occupied)[[0, -1]]
    if last - first >= new:
        # Larger than the result: its middle is the best that can be kept.
        return int(np.clip((first + last + 1 - new) // 2, 0, old - new))
    return int(np.clip(start, last + 1 - new, first))
