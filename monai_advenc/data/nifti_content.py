# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The bytes of a file of voxels: what its header claims is there, and compressed streams are whole.

Parsers stop at the last voxel: they would miss that the checksum after it is wrong, and they allocate what a damaged
header claims before they look whether it is there.
"""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
from nibabel.freesurfer.mghformat import MGHHeader

from monai_advenc.errors import VolumeError

COMPRESSED_SUFFIXES = (".gz", ".mgz")

MOST_INFLATION = 1100
"""Deflate makes a byte of at most 1032 (zlib's documentation), besides a few of gzip's own header."""

_HEAD = 1024

_CHUNK = 2**20

_MOST_AFTER = 16 * 2**20
"""Bytes after the voxels that are kept as they are; more would be another file, or a stream made to fill the memory."""


def load_whole(path: Path) -> Any:
    """Load a volume with nibabel, after its file was found to be whole; Analyze too, which states no orientation.

    Returns:
        The image; its voxels are still to be read.

    Raises:
        VolumeError: The header claims more voxels than the file holds, or begins them inside itself.
        FileNotFoundError: The other file of a pair is missing.
        Exception: Whatever the parsers raise for a damaged header or stream.
    """
    lower = path.name.lower()
    if lower.endswith(COMPRESSED_SUFFIXES):
        # A damaged header may claim sizes of extensions too; they are read from what is there.
        return image_in(read_whole(path), path)
    if not lower.endswith((".hdr", ".img")):
        with path.open("rb") as file:
            _require_claimed(_header_of(file.read(_HEAD), path)[0], path.stat().st_size, path)
        return nibabel.load(path)
    image: Any = nibabel.load(path)
    voxels = Path(str(image.file_map["image"].filename))
    _require_claimed(image.header, voxels.stat().st_size, path)
    return image


def image_in(content: bytes, path: Path) -> Any:
    """Parse the decompressed bytes of a single file with nibabel, which reads the voxels from them when asked."""
    return _header_of(content[:_HEAD], path)[1].from_stream(io.BytesIO(content))


def read_whole(path: Path) -> bytes:
    """Read a single file, decompressed to the end of its stream: the checksum there is compared.

    Memory stays within what the file holds, whatever its header claims.

    Raises:
        VolumeError: As :func:`load_whole`.
        Exception: The stream is cut off, or its checksum or length is wrong.
    """
    if not path.name.lower().endswith(COMPRESSED_SUFFIXES):
        return path.read_bytes()
    with gzip.open(path) as stream:
        head = stream.read(_HEAD)
        header = _header_of(head, path)[0]
        claimed = _require_claimed(header, MOST_INFLATION * path.stat().st_size, path)
        content = b"".join(_chunks(stream, head, claimed, path))
    _require_claimed(header, len(content), path)
    return content


def _chunks(stream: gzip.GzipFile, head: bytes, claimed: int, path: Path) -> Iterator[bytes]:
    total, chunk = 0, head
    while chunk:
        yield chunk
        total += len(chunk)
        if total > claimed + _MOST_AFTER:
            raise VolumeError(f"{path} holds more than the {claimed} bytes that its header claims; get the file again")
        chunk = stream.read(_CHUNK)


def _header_of(head: bytes, path: Path) -> tuple[Any, Any]:
    """The header at the start of a single file, not checked, and nibabel's class for such files."""
    if path.name.lower().endswith((".mgz", ".mgh")):
        return MGHHeader(head[: MGHHeader.template_dtype.itemsize], check=False), nibabel.MGHImage
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        if kind.header_class.may_contain_header(head):
            return kind.header_class(head[: kind.header_class.template_dtype.itemsize], check=False), kind
    raise ValueError("it has no NIfTI header")


def _require_claimed(header: Any, present: int, path: Path) -> int:
    """Raise :class:`VolumeError` unless the voxels lie behind the header and within the file; how far they reach."""
    # nibabel takes the smallest offset for one that is not set.
    offset = int(header.get("vox_offset", header.get_data_offset()))
    shape = tuple(int(length) for length in header.get_data_shape())
    # Also for a single file that says that it is one of a pair: its voxels cannot lie elsewhere.
    first = header.single_vox_offset if getattr(type(header), "is_single", False) else 0
    if offset < first:
        raise VolumeError(
            f"{path} begins its voxels at byte {offset}, inside its header of {first} bytes (vox_offset); "
            "get the file again"
        )
    claimed: int = offset + math.prod(shape) * header.get_data_dtype().itemsize
    if min(shape, default=0) < 0 or claimed > present:
        raise VolumeError(
            f"{path} is damaged or no volume: its header claims {' x '.join(map(str, shape))} voxels, {claimed} bytes, "
            f"and the file holds at most {present}; get the file again"
        )
    return claimed
