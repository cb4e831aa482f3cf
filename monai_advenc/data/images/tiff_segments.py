# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Rewrite the strips or tiles of a TIFF file; undo LZW, which tifffile decodes only with a further package.

Pillow's libtiff decodes each strip or tile as a row of bytes. Only the compression is left to it: of whole files it
truncates 16-bit colors and exchanges the bytes of big-endian floats.
"""

from __future__ import annotations

import io
import itertools
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image
from tifffile import COMPRESSION, DATATYPE, TiffFile, TiffPage


def without_lzw(path: Path) -> io.BytesIO:
    """The content of a TIFF file with the strips or tiles of its first page stored by zlib, uncompressed."""
    content = io.BytesIO(path.read_bytes())
    with TiffFile(content) as file:
        page = file.pages.first
        segments = [
            zlib.compress(_decode(segment, size, page.fillorder), level=0)
            for segment, size in zip(_segments(content, page), _sizes(page), strict=True)
        ]
        _replace(content, page, segments)
        page.tags["Compression"].overwrite(COMPRESSION.ADOBE_DEFLATE)
        if "FillOrder" in page.tags:
            page.tags["FillOrder"].overwrite(1)
    return io.BytesIO(content.getvalue())


def with_segments(path: Path, change: Callable[[bytes], bytes]) -> io.BytesIO:
    """The content of a TIFF file with other strips or tiles of its first page."""
    content = io.BytesIO(path.read_bytes())
    with TiffFile(content) as file:
        page = file.pages.first
        _replace(content, page, [change(segment) for segment in _segments(content, page)])
    return io.BytesIO(content.getvalue())


def _segments(content: io.BytesIO, page: TiffPage) -> Iterator[bytes]:
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        content.seek(offset)
        yield content.read(length)


def _replace(content: io.BytesIO, page: TiffPage, segments: list[bytes]) -> None:
    """Write strips or tiles to the end of the file, and where they lie into the tags."""
    lengths = [len(segment) for segment in segments]
    end = content.seek(0, io.SEEK_END)
    content.write(b"".join(segments))
    offsets, counts = ("TileOffsets", "TileByteCounts") if page.is_tiled else ("StripOffsets", "StripByteCounts")
    page.tags[offsets].overwrite(list(itertools.accumulate(lengths[:-1], initial=end)), dtype=DATATYPE.LONG)
    page.tags[counts].overwrite(lengths, dtype=DATATYPE.LONG)


def _sizes(page: TiffPage) -> Iterator[int]:
    """Bytes of each strip or tile, uncompressed."""
    planes, samples = (page.samplesperpixel, 1) if page.planarconfig == 2 else (1, page.samplesperpixel)
    width, rows = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    in_plane = math.prod(page.chunked) // planes
    for number in range(in_plane * planes):
        # The last strip of a plane ends with the image, but the last tile is a whole one.
        left = rows if page.is_tiled else page.imagelength - number % in_plane * rows
        yield min(rows, left) * width * samples * page.bitspersample // 8


def _decode(segment: bytes, size: int, fill_order: int) -> bytes:
    shape, strip = ((256, size), (257, 1), (258, 8)), ((273, 8), (278, 1), (279, len(segment)))
    tags = (*shape, (259, COMPRESSION.LZW), (262, 1), (266, fill_order), *strip)
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    header = struct.pack("<2sHI", b"II", 42, 8 + len(segment))
    with Image.open(io.BytesIO(header + segment + directory + bytes(4)), formats=("TIFF",)) as row:
        return row.tobytes()
