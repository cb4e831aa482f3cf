# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare what a DICOM header claims with what the file holds, before anything is allocated or decoded."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array

from monai_advenc.data.codestream import has_end, lacks_pixels, size_of
from monai_advenc.data.nifti_content import MOST_INFLATION
from monai_advenc.errors import VolumeError

_MOST_RUN_LENGTH = 64
"""RLE (PS3.5, annex G) makes at most 128 bytes of two."""

_LEAST_CODESTREAM = 32
"""Bytes of the shortest codestream: the tag and length of its item, and the markers that it cannot do without."""

_MOST_COMPRESSION, _ALWAYS_POSSIBLE = 1000, 2**28
"""Codestreams of one color are short whatever their size, so that even blank masks of many frames stay below the first.

Up to so many bytes of pixels, all is believed.
"""

_STARTS_WITH_MARKERS = (*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes)


def require_claimed_pixels(dataset: Dataset, path: Path) -> None:
    """Raise :class:`VolumeError` if a file is too short for its Number of Frames, Rows and Columns.

    Args:
        dataset: The header of an image or a segmentation.
        path: The file.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    count = int(dataset.get("NumberOfFrames") or 1)
    pixels = int(dataset.Rows) * int(dataset.Columns)
    claimed, present = count * pixels * int(dataset.get("BitsAllocated") or 1) // 8, path.stat().st_size
    if syntax == uid.RLELossless:
        present *= _MOST_RUN_LENGTH
    elif syntax == uid.DeflatedExplicitVRLittleEndian:
        present *= MOST_INFLATION
    elif syntax.is_encapsulated:
        claimed = max(claimed, count * _LEAST_CODESTREAM * _MOST_COMPRESSION)
        present = max(_MOST_COMPRESSION * present, _ALWAYS_POSSIBLE)
    if count < 1 or claimed > present:
        raise VolumeError(
            f"{path} claims {count} frame(s) of {dataset.Rows} x {dataset.Columns} pixels, at least {claimed} bytes, "
            f"and holds at most {present}; get the file again"
        )


def require_whole_codestreams(dataset: Dataset, path: Path) -> None:
    """Raise :class:`VolumeError` if a compressed frame ends early or has another size than the header says.

    Decoders make up the rest of a codestream that ends early, and allocate what it claims.

    Args:
        dataset: The file, read with its pixels.
        path: The file.
    """
    if dataset.file_meta.TransferSyntaxUID not in _STARTS_WITH_MARKERS or "PixelData" not in dataset:
        return
    count, found = int(dataset.get("NumberOfFrames") or 1), 0
    for found, frame in enumerate(codestreams(dataset), start=1):
        where = f"frame {found} of {path}"
        size = size_of(frame)
        if not has_end(frame):
            raise VolumeError(
                f"{where} ends early: its codestream lacks its end, or parts before it; get the file again"
            )
        if size is not None and size != (dataset.Rows, dataset.Columns):
            raise VolumeError(
                f"{where} is {size[0]} x {size[1]} pixels; expected {dataset.Rows} x {dataset.Columns} by its header: "
                "get the file again"
            )
    if found < count:
        raise VolumeError(f"{path} claims {count} frames and holds {found}; get the file again")


def codestreams(dataset: Dataset) -> Iterator[bytes]:
    """The compressed frames of a file that was read with its pixels."""
    offsets = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    extended = (offsets[0], offsets[1]) if offsets[0] and offsets[1] else None
    count = int(dataset.get("NumberOfFrames") or 1)
    return generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=extended)


def require_all_pixels(dataset: Dataset, stored: NDArray[Any], path: Path) -> None:
    """Raise :class:`VolumeError` if a frame's JPEG codestream has an end, but not all pixels before it.

    Args:
        dataset: The file, read with its pixels.
        stored: What its frames were decoded to, ``(N, rows, columns)``.
        path: The file.
    """
    if dataset.file_meta.TransferSyntaxUID not in uid.JPEGTransferSyntaxes:
        return
    single = copy(dataset)
    single.NumberOfFrames = 1
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        single.pop(keyword, None)

    def decode(codestream: bytes) -> NDArray[Any]:
        single.PixelData = encapsulate([codestream])
        return pixel_array(single)

    for index, (codestream, decoded) in enumerate(zip(codestreams(dataset), stored, strict=False), start=1):
        if lacks_pixels(codestream, decoded, decode):
            raise VolumeError(f"frame {index} of {path} lacks a part of its pixels; get the file again")
