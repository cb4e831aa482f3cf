# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What the markers of JPEG, JPEG-LS and JPEG 2000 codestreams say: size, bits a sample, and whether pixels are missing.

Decoders make up the rest of a codestream that lacks some of its pixels, most of them without an error.
"""

from __future__ import annotations

import math
import random
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

END = b"\xff\xd9"
"""Ends JPEG, JPEG-LS and JPEG 2000 alike (EOI, EOC); none of them has these two bytes among its pixels."""

_MARKER = re.compile(rb"\xff+[\x01-\xfe]")

_SEGMENT = re.compile(rb"\xff+[\x02-\xcf\xd9-\xfe]")
"""A marker that is none of those without length: restarts, which lie among the pixels, and the start of the image."""

_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a frame header: all processes, but not the tables among them."""

_PROGRESSIVE, _LOSSLESS, _JPEG_LS, _SCAN, _LAST = 0xC2, 0xC3, 0xF7, 0xDA, 0xD9

_HUFFMAN = (0xC0, 0xC1, _PROGRESSIVE, _LOSSLESS)
"""Processes whose codes end where the pixels end. Arithmetic decoders read zeros after the last byte on purpose."""

_COEFFICIENTS = 64

_SIZ, _TILE = b"\xff\x4f\xff\x51", b"\xff\x90"

_FILLER = bytes(random.Random(0).choices(range(255), k=64))
"""No pixels that a codestream could hold: bytes that no marker begins with."""


@dataclass(frozen=True)
class JpegHeader:
    """The frame header of a JPEG or JPEG-LS codestream.

    Attributes:
        process: Its marker, which names the process of coding.
        bits: Bits a sample.
        size: Rows and columns; ``None`` if their number follows the pixels (DNL).
        components: Identifiers of the components.
    """

    process: int
    bits: int
    size: tuple[int, int] | None
    components: tuple[int, ...]


def jpeg_header(codestream: bytes) -> JpegHeader | None:
    """The first frame header of a JPEG or JPEG-LS codestream; ``None`` without one before the pixels."""
    for marker, at, _ in _segments(codestream):
        if marker in _FRAMES or marker == _JPEG_LS:
            if len(codestream) < at + 8:
                return None
            bits, rows, columns, count = struct.unpack_from(">BHHB", codestream, at + 2)
            return JpegHeader(
                marker, bits, (rows, columns) if rows and columns else None, tuple(codestream[at + 8 :: 3][:count])
            )
        if marker == _SCAN:
            return None
    return None


def _segments(codestream: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, place of the length, and end of each segment of a JPEG codestream; pixels are skipped."""
    at = 2
    while (found := _SEGMENT.search(codestream, at)) and found.end() + 2 <= len(codestream):
        marker, start = codestream[found.end() - 1], found.end()
        if marker == _LAST:
            return
        at = start + int(struct.unpack_from(">H", codestream, start)[0])
        yield marker, start, at


def size_of(codestream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream claims; ``None`` where it does not say."""
    if codestream[:2] == b"\xff\xd8":
        header = jpeg_header(codestream)
        return None if header is None else header.size
    at = codestream.find(_SIZ)
    if at < 0 or len(codestream) < at + 24:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", codestream, at + 8)
    return bottom - top, right - left


def has_end(codestream: bytes) -> bool:
    """Whether a codestream has an end of image after its pixels begin, and before it every part that it announces."""
    if codestream[:2] != b"\xff\xd8":
        return _has_all_tiles(codestream)
    at = next((end for marker, _, end in _segments(codestream) if marker == _SCAN), None)
    return at is not None and codestream.find(END, at) >= 0 and _has_all_scans(codestream)


def _has_all_tiles(codestream: bytes) -> bool:
    """Whether the parts of tiles of JPEG 2000 follow each other up to the end, as their lengths say (ISO 15444-1)."""
    siz = codestream.find(_SIZ)
    at = codestream.find(_TILE, siz)
    if min(siz, at) < 0 or len(codestream) < siz + 40:
        return False
    right, bottom, _, _, width, height, left, top = struct.unpack_from(">8I", codestream, siz + 8)
    tiles = set()
    while codestream[at : at + 2] == _TILE and at + 12 <= len(codestream):
        tile, length = struct.unpack_from(">HI", codestream, at + 4)
        tiles.add(tile)
        # The last part may leave its length open.
        at = at + length if length else codestream.rfind(END)
    expected = math.prod(
        -(-(end - start) // max(1, step)) for end, start, step in ((right, left, width), (bottom, top, height))
    )
    return len(tiles) == expected and codestream[at : at + 2] == END


def _has_all_scans(codestream: bytes) -> bool:
    """Whether the scans of a JPEG hold each coefficient of each component down to its last bit."""
    header = jpeg_header(codestream)
    if header is None or header.process not in _HUFFMAN:
        return True
    # Only there is it what the last numbers of a scan's header say; some encoders of the others write any.
    is_progressive = header.process == _PROGRESSIVE
    kinds = _COEFFICIENTS if is_progressive else 1
    left = {(component, kind) for component in header.components for kind in range(kinds)}
    for marker, at, end in _segments(codestream):
        if marker != _SCAN or end > len(codestream) or end - at < 6:
            continue
        first, last, bits = codestream[end - 3 : end] if is_progressive else bytes(3)
        if bits & 0xF == 0:
            found = codestream[at + 3 : end - 3 : 2]
            left -= {(component, kind) for component in found for kind in range(first, last + 1)}
    return not left


def lacks_pixels(codestream: bytes, decoded: NDArray[Any], decode: Callable[[bytes], NDArray[Any]]) -> bool:
    """Whether a JPEG codestream, or a part of it up to a restart, ends before its pixels do.

    Decoders say nothing of that. Here, bytes that hold other pixels follow each part, which changes nothing of a whole
    codestream: it is decoded to the same values.

    Args:
        codestream: One image; only JPEG with Huffman codes shows what it lacks.
        decoded: What it was decoded to.
        decode: Decode a codestream in the same way.
    """
    header = jpeg_header(codestream) if codestream[:2] == b"\xff\xd8" else None
    if header is None or header.process not in _HUFFMAN:
        return False
    try:
        return not np.array_equal(decoded, decode(with_filler(codestream)))
    except Exception:  # noqa: BLE001 - Decoders raise anything where pixels are missing.
        return True


def with_filler(codestream: bytes) -> bytes:
    """A JPEG codestream with further bytes after the pixels of each scan, and of each part of it up to a restart.

    Decoders skip them, unless they still need pixels.
    """
    parts, before = [], 0
    for marker, _, at in _segments(codestream):
        if marker == _SCAN:
            end = _SEGMENT.search(codestream, at)
            last = end.end() if end else len(codestream)
            parts += [codestream[before:at], _MARKER.sub(lambda found: _FILLER + found[0], codestream[at:last])]
            before = last
    return b"".join([*parts, codestream[before:]])
