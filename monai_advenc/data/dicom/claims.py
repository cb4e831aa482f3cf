# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare what a DICOM header claims with what the file holds, before anything is allocated or decoded."""

from __future__ import annotations

import struct
from pathlib import Path

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from monai_advenc.data.nifti_content import MOST_INFLATION
from monai_advenc.errors import VolumeError

_MOST_RUN_LENGTH = 64
"""RLE (PS3.5, annex G) makes at most 128 bytes of two."""

_ITEM = 8
"""Bytes of an item's tag and length: every frame of encapsulated pixels has at least one item."""

_STARTS_WITH_MARKERS = (*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes)

_END = b"\xff\xd9"
"""Ends JPEG, JPEG-LS and JPEG 2000 alike (EOI, EOC); none of them has these two bytes among its pixels."""

_NO_FRAME_HEADERS = (0xC4, 0xC8, 0xCC)
"""Markers in the range of those that begin a frame header of JPEG, and do not."""

_JPEG_LS, _JPEG_2000, _SCAN = 0xF7, 0x51, 0xDA


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
        # One color takes JPEG 2000 few bytes whatever the size; see require_whole_codestreams.
        claimed = count * _ITEM
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
    count = int(dataset.get("NumberOfFrames") or 1)
    offsets = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    extended = (offsets[0], offsets[1]) if offsets[0] and offsets[1] else None
    found = 0
    for found, frame in enumerate(
        generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=extended), start=1
    ):
        where = f"frame {found} of {path}"
        size, last = _size_of(frame)
        if frame.find(_END, last) < 0:
            raise VolumeError(f"{where} ends early: its codestream has no end of image; get the file again")
        if size is not None and size != (dataset.Rows, dataset.Columns):
            raise VolumeError(
                f"{where} is {size[0]} x {size[1]} pixels; expected {dataset.Rows} x {dataset.Columns} by its header: "
                "get the file again"
            )
    if found < count:
        raise VolumeError(f"{path} claims {count} frames and holds {found}; get the file again")


def _size_of(codestream: bytes) -> tuple[tuple[int, int] | None, int]:
    """Rows and columns of a codestream, ``None`` where it does not say; and where its pixels may begin."""
    size, place = None, codestream.find(b"\xff\xd8") + 2 if codestream[:2] == b"\xff\xd8" else 0
    if not place:
        place = codestream.find(b"\xff\x4f\xff\x51") + 2
        if place < 2 or len(codestream) < place + 22:
            return None, 0
        right, bottom, left, top = struct.unpack_from(">4I", codestream, place + 6)
        return (bottom - top, right - left), place
    while place + 9 <= len(codestream) and codestream[place] == 0xFF:
        marker = codestream[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if marker == _JPEG_LS or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADERS):
            rows, columns = struct.unpack_from(">2H", codestream, place + 5)
            # Zero rows: their number follows the pixels (DNL).
            size = (rows, columns) if rows and columns else None
        place += 2 + int(struct.unpack_from(">H", codestream, place + 2)[0])
        if marker == _SCAN:
            break
    return size, place
