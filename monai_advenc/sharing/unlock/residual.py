# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The difference between original and encrypted pixels of one file, exact and small.

Differences of stored numbers are taken modulo their range, so that nothing is lost; small ones of either sign become
small numbers. Their bytes are compressed plane by plane: the upper ones are nearly all zero.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_advenc.errors import ImageError

_LEVEL = 9


def residual_of(original: NDArray[Any], encrypted: NDArray[Any]) -> bytes:
    """Encode original minus encrypted.

    Args:
        original: Stored numbers; of floats the bits are compared.
        encrypted: The same type and shape.

    Raises:
        ValueError: Type or shape differ.
    """
    if original.dtype != encrypted.dtype or original.shape != encrypted.shape:
        raise ValueError(f"expected {encrypted.dtype}{encrypted.shape}, got {original.dtype}{original.shape}")
    whole = _as_whole(original)
    signed = (whole - _as_whole(encrypted)).view(f"<i{whole.itemsize}")
    folded = (signed << 1) ^ (signed >> (8 * whole.itemsize - 1))
    planes = folded.view(np.uint8).reshape(-1, whole.itemsize).T
    packed = [_packed(np.ascontiguousarray(plane).tobytes()) for plane in planes]
    return b"".join(len(each).to_bytes(8, "little") + each for each in packed)


def restored(encrypted: NDArray[Any], residual: bytes) -> NDArray[Any]:
    """The original's stored numbers, of the type and shape of the encrypted ones.

    Raises:
        ImageError: The residual is damaged, or of another image.
    """
    changed, place, planes = _as_whole(encrypted), 0, []
    try:
        for _ in range(changed.itemsize):
            length = int.from_bytes(residual[place : place + 8], "little")
            planes.append(_plane(residual[place + 8 : place + 8 + length], changed.size))
            place += 8 + length
        folded = np.ascontiguousarray(np.stack(planes, axis=1)).view(f"<u{changed.itemsize}").reshape(changed.shape)
    except (zlib.error, ValueError):
        raise ImageError("the residual is damaged, or of another image; give the one of this data set") from None
    difference = (folded >> 1) ^ (~(folded & 1) + 1)
    values = (changed + difference).view(encrypted.dtype.newbyteorder("<"))
    original: NDArray[Any] = values.astype(encrypted.dtype).reshape(encrypted.shape)
    return original


def most_bytes(encrypted: NDArray[Any]) -> int:
    """Largest size of a residual of these pixels: that of noise, which does not become smaller."""
    values = encrypted.size
    return encrypted.dtype.itemsize * (8 + values + values // 1000 + 64)


def _packed(plane: bytes) -> bytes:
    """Compress the bytes with or without looking for repetitions, of which noise has none, whichever is smaller."""
    found = []
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY):
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, strategy=strategy)
        found.append(packer.compress(plane) + packer.flush())
    return min(found, key=len)


def _plane(packed: bytes, values: int) -> NDArray[np.uint8]:
    """So many bytes; what would become longer is never unpacked."""
    unpacking = zlib.decompressobj()
    found = unpacking.decompress(packed, values) if values else b""
    if values and (len(found) != values or unpacking.decompress(unpacking.unconsumed_tail, 1) or not unpacking.eof):
        raise ValueError("another length")
    return np.frombuffer(found, np.uint8)


def _as_whole(pixels: NDArray[Any]) -> NDArray[Any]:
    """The numbers' bits as unsigned whole numbers ``(N,)``, the lowest byte first."""
    little = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<")))
    return little.reshape(-1).view(f"<u{pixels.dtype.itemsize}")
