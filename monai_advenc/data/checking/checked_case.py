# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read and cut one case as ``slice`` does, and keep what is to be told about it instead of the slice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Final

import nibabel.orientations
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monai_advenc.data.anatomical_planes import PLANES
from monai_advenc.data.dicom.series import DicomSeries
from monai_advenc.data.intensity import IntensityScale
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cross_section import CrossSection, SliceSettings, cut_cross_section
from monai_advenc.data.volumes.plane import chosen_plane
from monai_advenc.data.volumes.reading import mask_of, read_case_image, read_labels, tumor_of
from monai_advenc.errors import AdvencError

PICTURE_SIDE: Final = 192
"""Longest side in pixels of the picture of a case."""

MOST_KEPT: Final = 2000
"""Cases without a problem whose pictures are kept in memory."""

MOST_VALUES: Final = 16
"""Values of a mask that are listed."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What a case looks like.

    Attributes:
        pixels: ``(H, W)``, 8 bits.
        tumor: ``(H, W)``, bool; ``None`` where it could not be read.
    """

    pixels: NDArray[np.uint8]
    tumor: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class CheckedCase:
    """What was found out about a case; what could not be read is ``None``.

    Attributes:
        id: Its name.
        label: Its class; empty if it has none.
        problem: Why it would be refused; ``None`` if it would not.
        kind: NIfTI, or the modality of DICOM.
        shape: Voxels along each axis of the file.
        spacing: Distance of neighboring voxels along each axis, in mm.
        axes: Where the axes of the file point, such as LPS.
        plane: Plane of the cut.
        index: Index of the cut in the volume oriented RAS.
        side: Rows and columns of the slice before it is brought to the size that was asked for.
        spacing_in_plane: Distance of its rows and of its columns in mm.
        area_mm2: Area of the tumor in the cut.
        pixels: Its pixels there.
        tumor_kept: Share of them that cropping keeps.
        values: Values of the mask but 0, at most :data:`MOST_VALUES`; of DICOM, 1.
        digests: Checksums of the voxels of image and mask.
        picture: The cut, or the middle slice where there is none.
    """

    id: str
    label: str
    problem: str | None = None
    kind: str | None = None
    shape: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    axes: str | None = None
    plane: str | None = None
    index: int | None = None
    side: tuple[int, int] | None = None
    spacing_in_plane: tuple[float, float] | None = None
    area_mm2: float | None = None
    pixels: int | None = None
    tumor_kept: float | None = None
    values: tuple[int, ...] | None = None
    digests: tuple[str | None, str | None] = (None, None)
    picture: Picture | None = field(default=None, repr=False)


def check_case(settings: SliceSettings, case: Case) -> CheckedCase:
    """Read a case and cut it; whatever is wrong with it is part of the result, not raised."""
    found = CheckedCase(id=case.id, label=case.label, problem=case.problem)
    try:
        image = read_case_image(case, settings)
    except AdvencError as error:
        return replace(found, problem=case.problem or str(error))
    volume = image.volume if isinstance(image, DicomSeries) else image
    found = replace(
        found,
        kind=f"DICOM {image.modality}" if isinstance(image, DicomSeries) else "NIfTI",
        shape=volume.voxels.shape,
        spacing=tuple(round(each, 4) for each in volume.spacing),
        axes="".join(nibabel.orientations.aff2axcodes(volume.affine)),
        digests=(_digest(volume), None),
    )
    try:
        labels = read_labels(mask_of(case), image, settings)
        found = replace(found, values=_values(labels), digests=(_digest(volume), _digest(labels)))
        tumor = tumor_of(labels, image, settings)
        return _with_cut(found, volume, cut_cross_section(volume, tumor, settings.model_copy(update={"labels": None})))
    except AdvencError as error:
        return replace(found, problem=str(error), picture=_middle_slice(volume, settings))


def _digest(volume: Volume) -> str:
    content = np.ascontiguousarray(volume.voxels, dtype=np.float32)
    return hashlib.sha256(repr(content.shape).encode() + content.tobytes()).hexdigest()


def _values(labels: Volume) -> tuple[int, ...]:
    inside = labels.voxels[labels.voxels != 0]
    return tuple(int(each) for each in np.unique(inside[np.isfinite(inside)])[:MOST_VALUES])


def _with_cut(found: CheckedCase, volume: Volume, section: CrossSection) -> CheckedCase:
    oriented = volume.oriented(PLANES[section.plane])
    down, right, _ = oriented.spacing
    return replace(
        found,
        plane=section.plane,
        index=section.index,
        side=oriented.voxels.shape[:2],
        spacing_in_plane=(round(down, 4), round(right, 4)),
        area_mm2=round(section.area_mm2, 2),
        pixels=round(section.area_mm2 / (down * right)),
        tumor_kept=section.tumor_kept,
        picture=picture_of(section.image, section.mask),
    )


def _middle_slice(volume: Volume, settings: SliceSettings) -> Picture | None:
    try:
        plane = chosen_plane(settings.plane, volume)
        voxels = volume.oriented(PLANES[plane]).voxels
        pixels = voxels[:, :, voxels.shape[2] // 2].astype(np.float32)
        return picture_of(IntensityScale.robust(pixels, volume.source, inverted=volume.inverted).to_unit(pixels), None)
    except AdvencError:
        return None


def picture_of(unit: NDArray[np.float32], tumor: NDArray[np.bool_] | None) -> Picture:
    """A slice in [0, 1] with its tumor, shrunk to :data:`PICTURE_SIDE`."""
    factor = min(1.0, PICTURE_SIDE / max(unit.shape))
    width, height = (max(1, round(each * factor)) for each in (unit.shape[1], unit.shape[0]))
    pixels = Image.fromarray(np.rint(unit.clip(0, 1) * 255).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BOX
    )
    region = None
    if tumor is not None:
        shrunk = Image.fromarray(tumor.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
        region = np.asarray(shrunk) > 0
    return Picture(pixels=np.asarray(pixels), tumor=region)
