# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""One gray DICOM image on the whole numbers that it stores, read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from monai_advenc.data.dicom.file import numbers, read_dicom, reading
from monai_advenc.data.dicom.frame import DicomFrame, frames_of, require_decoder
from monai_advenc.data.stored_slice import StoredSlice
from monai_advenc.data.volume import Affine
from monai_advenc.errors import AdvencError, ImageError


@dataclass(frozen=True)
class DicomSlice:
    """A file that holds one image.

    Attributes:
        stored: The image on the numbers that the file stores.
        dataset: The file's data set.
        affine: 4x4, from ``(row, column, 0)`` to RAS+ mm; ``None`` if the file does not say.
    """

    stored: StoredSlice
    dataset: FileDataset
    affine: Affine | None


def read_dicom_slice(path: Path) -> DicomSlice:
    """Read a file that holds one image.

    Raises:
        ImageError: Damaged, no gray image, or several frames.
    """
    try:
        dataset = read_dicom(path, pixels=True)
        frames = frames_of(dataset, path)
        if len(frames) != 1:
            raise ImageError(f"{path} holds {len(frames)} frames; expected one image: cut it, or use encrypt-volume")
        return DicomSlice(stored_slices(dataset, frames)[0], dataset, _affine_of(frames[0]))
    except ImageError:
        raise
    except AdvencError as error:
        raise ImageError(str(error)) from None


def read_dicom_affine(path: Path) -> Affine | None:
    """The 4x4 affine of a single image, from ``(row, column, 0)`` to RAS+ mm; ``None`` if the file does not say."""
    return _affine_of(frames_of(read_dicom(path, pixels=False), path)[0])


def _affine_of(frame: DicomFrame) -> Affine | None:
    if frame.plane is None:
        return None
    affine = frame.plane.affine(frame.plane.normal * (frame.thickness or 1.0))
    return affine[:, [1, 0, 2, 3]]


def stored_slices(dataset: FileDataset, frames: Sequence[DicomFrame]) -> list[StoredSlice]:
    """Frames of one file as they are stored.

    Args:
        dataset: The file, read with its pixels.
        frames: Which frames of it; of a kind that can be written back.

    Raises:
        ImageError: The file's values are no line of whole numbers (modality LUT, float pixels).
        VolumeError: Damaged, or of a transfer syntax without decoder.
    """
    path = frames[0].path
    if not all(frame.linear for frame in frames):
        raise ImageError(f"{path} has a modality LUT that is a table, or float pixels; expected rescaled whole numbers")
    with reading(path):
        require_decoder(dataset, path)
        stored = dataset.pixel_array
        stored = stored[None] if stored.ndim == 2 else stored
        return [_stored_slice(dataset, frame, stored[frame.index or 0]) for frame in frames]


def _stored_slice(dataset: FileDataset, frame: DicomFrame, stored: NDArray[Any]) -> StoredSlice:
    lowest = -(2 ** (frame.bits_stored - 1)) if frame.signed else 0
    return StoredSlice(
        stored=stored,
        source=str(frame.path) if frame.index is None else f"frame {frame.index + 1} of {frame.path}",
        rising=(frame.slope > 0) != frame.inverted,
        reserved=_reserved(dataset, stored),
        limits=(lowest, lowest + 2**frame.bits_stored - 1),
    )


def _reserved(dataset: FileDataset, stored: NDArray[Any]) -> tuple[int, int] | None:
    """First and last stored value that mean padding (PS3.3, C.7.5.1.1.2), with the signedness of the pixels."""
    value = numbers(dataset, "PixelPaddingValue", 1)
    if value is None:
        return None
    ends = (value[0], (numbers(dataset, "PixelPaddingRangeLimit", 1) or value)[0])
    limits = np.iinfo(stored.dtype)
    first, last = sorted(int(end - limits.min) % 2**limits.bits + limits.min for end in ends)
    return first, last
