# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""One gray DICOM image on the whole numbers that it stores, read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from monai_advenc.data.dicom.file import read_dicom, reading
from monai_advenc.data.dicom.frame import DicomFrame, frames_of, padding_range, stored_pixels
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
        stored = stored_pixels(dataset, frames)
        return [_stored_slice(dataset, frame, values) for frame, values in zip(frames, stored, strict=True)]


def _stored_slice(dataset: FileDataset, frame: DicomFrame, stored: NDArray[Any]) -> StoredSlice:
    lowest = -(2 ** (frame.bits_stored - 1)) if frame.signed else 0
    return StoredSlice(
        stored=stored,
        source=str(frame.path) if frame.index is None else f"frame {frame.index + 1} of {frame.path}",
        rising=(frame.slope > 0) != frame.inverted,
        reserved=padding_range(dataset, stored.dtype),
        limits=(lowest, lowest + 2**frame.bits_stored - 1),
    )
