"""JPEG lossless (ITU-T T.81, annex H) with the first predictor, as archives hold most of their compressed images.

pydicom's plugins decode it but none encodes it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

CODE_BITS = 5
"""Every category of differences has a code of this length, which is simple rather than short."""


def encode(pixels: NDArray[np.uint16]) -> bytes:
    """One 16-bit image ``(rows, columns)``."""
    rows, columns = pixels.shape
    frame = struct.pack(">BHHBBBB", 16, rows, columns, 1, 1, 0x11, 0)
    lengths = [17 if length == CODE_BITS else 0 for length in range(1, 17)]
    table = bytes([0, *lengths, *range(17)])
    scan = bytes([1, 1, 0, 1, 0, 0])
    segments = [(0xC3, frame), (0xC4, table), (0xDA, scan)]
    header = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return b"\xff\xd8" + header + _entropy_coded(pixels) + b"\xff\xd9"


def _entropy_coded(pixels: NDArray[np.uint16]) -> bytes:
    bits = "".join(f"{category:0{CODE_BITS}b}{extra}" for category, extra in _symbols(pixels))
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")


def _symbols(pixels: NDArray[Any]) -> Iterator[tuple[int, str]]:
    """Category and extra bits of each difference from the pixel to the left, in the first column from the one above."""
    values = pixels.astype(np.int64)
    before = np.empty_like(values)
    before[:, 1:], before[1:, 0], before[0, 0] = values[:, :-1], values[:-1, 0], 2**15
    for difference in ((values - before + 2**15 - 1) % 2**16 - 2**15 + 1).ravel().tolist():
        category = abs(difference).bit_length()
        if category in (0, 17) or difference == 2**15:
            yield (16 if category else 0), ""
        else:
            low = difference if difference > 0 else difference + 2**category - 1
            yield category, f"{low:0{category}b}"
