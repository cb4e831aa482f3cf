# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read and decode the frames of one DICOM file: position, meaning of the stored values, pixels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGLSTransferSyntaxes

from monai_advenc.data.dicom.claims import require_all_pixels, require_claimed_pixels, require_whole_codestreams
from monai_advenc.data.dicom.file import in_words, kind_of, modality_of, numbers, reading
from monai_advenc.data.dicom.plane import FramePlane, functional_group, functional_groups, pixel_spacing, plane_of
from monai_advenc.errors import VolumeError

Pixels = NDArray[np.float32]

_MOST_SLICES = 2**14
"""More frames are several volumes, which are refused in any case. Each takes about a tenth of a millisecond to read."""


@dataclass(frozen=True)
class DicomFrame:
    """One frame of a DICOM file, and what is needed to write it back.

    Attributes:
        path: The file.
        index: 0-based index in a multi-frame file; ``None`` in a single-frame file.
        sop_instance_uid: SOP Instance UID of the file.
        shape: Rows and columns.
        plane: Where the frame lies; ``None`` if the file has no position, as for projections.
        unplaced_spacing: Distance of neighboring rows and columns in mm where there is no plane; 1 if the file does not
            say.
        thickness: Distance to the next slice by the header, in mm; ``None`` if the file does not say.
        slope: Rescale slope of the modality LUT; 1 where the file has none.
        intercept: Rescale intercept; 0 where the file has none.
        linear: Whether a voxel is ``slope * stored + intercept`` of a stored whole number. ``False`` for a modality LUT
            sequence, which is a table, and for float pixels.
        bits_stored: Bits that hold the value: stored values lie in this range.
        inverted: Whether viewers show low values bright (MONOCHROME1).
        signed: Whether stored values are signed (Pixel Representation 1).
        transfer_syntax: Transfer Syntax UID of the file.
    """

    path: Path
    index: int | None
    sop_instance_uid: str
    shape: tuple[int, int]
    plane: FramePlane | None
    unplaced_spacing: tuple[float, float]
    thickness: float | None
    slope: float
    intercept: float
    linear: bool
    bits_stored: int
    inverted: bool
    signed: bool
    transfer_syntax: str


def frames_of(dataset: FileDataset, path: Path) -> tuple[DicomFrame, ...]:
    """The frames of a file, from its header.

    Raises:
        VolumeError: No gray image that a volume could be made of; or the header is damaged.
    """
    with reading(path):
        _require_gray_image(dataset, path)
        require_claimed_pixels(dataset, path)
        count = int(dataset.get("NumberOfFrames") or 1)
        if count > _MOST_SLICES:
            raise VolumeError(
                f"{path} has {count} frames, more than one volume has slices ({_MOST_SLICES}); give one volume of them"
            )
        groups, shared = functional_groups(dataset, path)
        if count > 1 and not groups:
            raise VolumeError(
                f"{path} has {count} frames, {count} without position or orientation: expected one image or slices of "
                "a volume; give the frames that belong to one volume, with their positions"
            )
        return tuple(
            _frame(dataset, path, index if count > 1 else None, (group, shared, dataset))
            for index, group in enumerate(groups or [Dataset()])
        )


def _frame(dataset: FileDataset, path: Path, index: int | None, places: tuple[Dataset, ...]) -> DicomFrame:
    transformation = functional_group(places, "PixelValueTransformationSequence")
    measures = functional_group(places, "PixelMeasuresSequence")
    slope, intercept = _rescale(transformation, path, is_required=transformation is not places[-1])
    is_float = _has_float_pixels(dataset)
    return DicomFrame(
        path=path,
        index=index,
        sop_instance_uid=str(dataset.get("SOPInstanceUID") or ""),
        shape=(int(dataset.Rows), int(dataset.Columns)),
        plane=plane_of(places, path),
        unplaced_spacing=pixel_spacing(measures) or (1.0, 1.0),
        thickness=_thickness(measures),
        slope=slope,
        intercept=intercept,
        linear=not is_float and not dataset.get("ModalityLUTSequence"),
        bits_stored=int(dataset.BitsAllocated if is_float else dataset.BitsStored),
        inverted=str(dataset.PhotometricInterpretation) == "MONOCHROME1",
        signed=is_float or int(dataset.get("PixelRepresentation") or 0) == 1,
        transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
    )


def _rescale(transformation: Dataset, path: Path, *, is_required: bool) -> tuple[float, float]:
    """Slope and intercept, 1 and 0 where there are none; one means nothing without the other (PS3.3, C.11.1)."""
    found = [numbers(transformation, keyword, 1) for keyword in ("RescaleSlope", "RescaleIntercept")]
    if None in found and (is_required or found != [None, None]):
        raise VolumeError(f"{path} has only one of rescale slope and intercept, or empty ones; get the file again")
    slope, intercept = (default if each is None else each[0] for each, default in zip(found, (1.0, 0.0), strict=True))
    if slope == 0:
        raise VolumeError(f"{path} has rescale slope 0, which makes every pixel the same; get the file again")
    return slope, intercept


def _thickness(measures: Dataset) -> float | None:
    """Distance to the next slice by the header; an unreadable one is none, because positions decide where they can."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        with suppress(VolumeError):
            found = abs(_number(measures, keyword, 0))
            if found:
                return found
    return None


def _number(dataset: Dataset, keyword: str, default: float) -> float:
    found = numbers(dataset, keyword, 1)
    return default if found is None else found[0]


def _has_float_pixels(dataset: Dataset) -> bool:
    """Whether the pixels are floats: those images have no bits stored (parametric maps, PS3.3, C.7.6.24)."""
    return "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset or "BitsStored" not in dataset


def _require_gray_image(dataset: FileDataset, path: Path) -> None:
    if kind_of(dataset) != "image":
        raise VolumeError(
            f"{path} is no image ({in_words(modality_of(dataset))}); expected CT, MR, PET or another image: give the "
            "series of images, and a segmentation or structure set as its mask"
        )
    color = str(dataset.get("PhotometricInterpretation") or "")
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or not color.startswith("MONOCHROME"):
        raise VolumeError(f"{path} is no gray image ({color or 'no photometric interpretation'}): expected MONOCHROME")
    if "MOSAIC" in [str(each).upper() for each in _values(dataset, "ImageType")]:
        raise VolumeError(f"{path} is a Siemens mosaic (many slices tiled into one picture); convert it with dcm2niix")
    if min(int(dataset.Rows), int(dataset.Columns)) < 1:
        raise VolumeError(f"{path} has {dataset.Rows} rows and {dataset.Columns} columns; get the file again")
    allocated = int(dataset.get("BitsAllocated") or 0)
    if not _has_float_pixels(dataset) and (allocated not in (8, 16) or not 1 <= int(dataset.BitsStored) <= allocated):
        raise VolumeError(f"{path} has pixels of {dataset.BitsStored} in {allocated} bits; expected 8 to 16 bits")
    require_low_bits(dataset, path)


def require_low_bits(dataset: Dataset, path: Path) -> None:
    """Raise :class:`VolumeError` unless the values are in the low bits of each pixel (PS3.5, 8.1.1).

    Decoders do not shift them, so values in high bits would be read as multiples of what they are, with what old files
    keep below them.
    """
    if _has_float_pixels(dataset) or dataset.get("HighBit") is None:
        return
    high, expected = int(dataset.HighBit), int(dataset.BitsStored) - 1
    if high != expected:
        raise VolumeError(
            f"{path} has High Bit {high} with {expected + 1} bits stored; expected {expected}, as DICOM requires: "
            "shift the pixels to their low bits first"
        )


def _values(dataset: Dataset, keyword: str) -> list[Any]:
    value = dataset.get(keyword) or []
    return [value] if isinstance(value, str) else list(value)


def decode_frames(dataset: FileDataset, frames: Sequence[DicomFrame]) -> tuple[Pixels, NDArray[np.bool_] | None]:
    """Decode frames of one file.

    Args:
        dataset: The file, read with its pixels.
        frames: Which frames of it.

    Returns:
        The values after the modality LUT (PS3.3, C.11.1), ``(N, rows, columns)``, float32; and where there is
        padding (PS3.3, C.7.5.1.1.2), or ``None`` if the file has no padding value.

    Raises:
        VolumeError: Damaged, of a transfer syntax without decoder, or not finite.
    """
    path = frames[0].path
    with reading(path):
        stored = np.stack(stored_pixels(dataset, frames))
        if dataset.get("ModalityLUTSequence"):
            values = apply_modality_lut(stored, dataset).astype(np.float32)
        else:
            slopes, intercepts = (
                np.array([getattr(frame, name) for frame in frames])[:, None, None] for name in ("slope", "intercept")
            )
            # In double precision, as pydicom does it; a slope of 1 and an intercept of 0 change nothing.
            values = (stored.astype(np.float64) * slopes + intercepts).astype(np.float32)
        if not np.isfinite(values).all():
            raise VolumeError(f"{path} holds NaN or infinite pixels; correct or leave out the case")
        reserved = padding_range(dataset, stored.dtype)
        return values, None if reserved is None else (stored >= reserved[0]) & (stored <= reserved[1])


def stored_pixels(dataset: FileDataset, frames: Sequence[DicomFrame]) -> list[NDArray[Any]]:
    """Decode the stored values ``(rows, columns)`` of each of some frames of one file, read with its pixels.

    Raises:
        VolumeError: There is no decoder for the transfer syntax, or a compressed frame is not whole.
    """
    path = frames[0].path
    _require_decoder(dataset, path)
    require_whole_codestreams(dataset, path)
    if dataset.file_meta.TransferSyntaxUID in JPEGLSTransferSyntaxes:
        # The other decoder of JPEG-LS, which pydicom would try next, makes up what a damaged codestream lacks.
        stored = pixel_array(dataset, decoding_plugin="pyjpegls")
    else:
        stored = dataset.pixel_array
    stored = stored[None] if stored.ndim == 2 else stored
    require_all_pixels(dataset, stored, path)
    return [stored[frame.index or 0] for frame in frames]


def _require_decoder(dataset: FileDataset, path: Path) -> None:
    """Raise :class:`VolumeError` with a remedy for pixels that cannot be decoded here."""
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        is_available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise VolumeError(
            f"{path} has the transfer syntax {syntax.name}, which has no decoder here; write it uncompressed first"
        ) from None
    if not is_available:
        raise VolumeError(
            f"{path} is compressed with {syntax.name}: install the extra jpeg (pip install '.[jpeg]' in the repository)"
        )


def padding_range(dataset: Dataset, dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """First and last stored value that mean padding (PS3.3, C.7.5.1.1.2); ``None`` without one, and for float pixels.

    Some files give these values with the other signedness than the pixels; the result has that of ``dtype``.
    """
    value = numbers(dataset, "PixelPaddingValue", 1)
    if value is None or not np.issubdtype(dtype, np.integer):
        return None
    limit = numbers(dataset, "PixelPaddingRangeLimit", 1) or value
    limits = np.iinfo(dtype)
    first, last = sorted(int(end - limits.min) % 2**limits.bits + limits.min for end in (value[0], limit[0]))
    return first, last
