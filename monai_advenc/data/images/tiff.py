# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""TIFF files of one gray or RGB image, read by what their tags say; a file that says anything else is refused.

tifffile reads the tags and decodes the pixels. Files of compressions that it cannot decode alone (JPEG) are left to
Pillow, for those layouts that Pillow decodes without losing or misplacing bits.
"""

from __future__ import annotations

import logging
import math
import re
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from tifffile import COMPRESSION, PHOTOMETRIC, SAMPLEFORMAT, TiffFile, TiffPage

from monai_advenc.data.codestream import with_filler
from monai_advenc.data.images.orientation import upright
from monai_advenc.data.images.tiff_segments import with_segments, without_lzw
from monai_advenc.errors import ImageError

# Its notes on damaged tags would go to the terminal, in front of the one line that refuses the file.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_ADVICE = "save it as one gray or RGB image of 8 or 16 bits, uncompressed"

_BIGGEST_RATIOS = {
    COMPRESSION.NONE: 1,
    COMPRESSION.LZW: 2048,
    COMPRESSION.DEFLATE: 1032,
    COMPRESSION.ADOBE_DEFLATE: 1032,
    COMPRESSION.PACKBITS: 64,
}
"""Compressions decoded here, and how many times its own bytes a stream of each can hold at most."""

_PLANAR, _HORIZONTAL = 2, 2
"""Values of PlanarConfiguration and Predictor."""


class TiffLayout(NamedTuple):
    """What the tags of a TIFF file say about its pixels."""

    width: int
    height: int
    samples: int
    bits: tuple[int, ...]
    sample_format: tuple[int, ...]
    photometric: int | None
    is_planar: bool
    is_big_endian: bool
    compression: int
    predictor: int
    orientation: int
    extra_samples: int
    images: int

    def __str__(self) -> str:
        bits = "/".join(map(str, dict.fromkeys(self.bits)))
        return (
            f"{self.width}x{self.height} pixels, {self.samples} samples of {bits} bits "
            f"({'/'.join(_name(SAMPLEFORMAT, value) for value in dict.fromkeys(self.sample_format))}), "
            f"{_name(PHOTOMETRIC, self.photometric)}, {'planar' if self.is_planar else 'chunky'}, "
            f"{'big' if self.is_big_endian else 'little'}-endian, compression {_name(COMPRESSION, self.compression)}"
        )

    @property
    def is_inverted(self) -> bool:
        """Whether 0 is white."""
        return self.photometric == PHOTOMETRIC.MINISWHITE

    @property
    def is_float(self) -> bool:
        """Whether samples are floating-point numbers."""
        return set(self.sample_format) == {SAMPLEFORMAT.IEEEFP}


def _name(kind: type[IntEnum], value: int | None) -> str:
    return kind(value).name if value in list(kind) else f"{kind.__name__.lower()} {value}"


def read_tiff(path: Path) -> NDArray[np.generic]:
    """Read a TIFF file upright, with 0 as black.

    Returns:
        ``(H, W)`` or ``(H, W, 3)``: uint8, uint16 or floats, as stored.

    Raises:
        ImageError: It holds something else than one gray or RGB image, or its compression cannot be decoded.
    """
    with TiffFile(path) as file:
        page, layout = file.pages.first, read_layout(file)
        problem = _problem(layout)
        if problem:
            raise ImageError(f"{path} {problem} (TIFF of {layout}); {_ADVICE}")
        if (
            layout.bits[0] < 8
            or layout.compression not in _BIGGEST_RATIOS
            or layout.predictor not in _predictors(layout)
        ):
            return _read_with_pillow(path, layout)
        _check_segments(page, layout, path)
        if layout.compression != COMPRESSION.LZW:
            return _decode(page, layout)
    with TiffFile(without_lzw(path)) as file:
        return _decode(file.pages.first, layout)


def _decode(page: TiffPage, layout: TiffLayout) -> NDArray[np.generic]:
    # (planes, H, W, samples), one of which is 1, to (H, W, C).
    values = np.moveaxis(page.asarray().reshape(page.shaped)[:, 0], 0, -1)
    values = values.reshape(layout.height, layout.width, layout.samples)
    return upright(_black_at_zero(values) if layout.is_inverted else values, layout.orientation)


def read_layout(file: TiffFile) -> TiffLayout:
    """What an open TIFF file says about itself, without what tifffile would assume of a missing tag."""
    page = file.pages.first
    samples = int(page.tags.valueof(277, 1))
    return TiffLayout(
        width=page.imagewidth,
        height=page.imagelength,
        samples=samples,
        bits=_for_each(page, 258, 1),
        sample_format=_for_each(page, 339, SAMPLEFORMAT.UINT),
        photometric=page.tags.valueof(262),
        is_planar=samples > 1 and page.tags.valueof(284, 1) == _PLANAR,
        is_big_endian=file.byteorder == ">",
        compression=int(page.tags.valueof(259, COMPRESSION.NONE)),
        predictor=int(page.tags.valueof(317, 1)),
        orientation=_orientation(page),
        extra_samples=len(page.extrasamples),
        images=_number_of_images(file),
    )


def _predictors(layout: TiffLayout) -> tuple[int, ...]:
    """Predictors that mean the same to all readers: libtiff ignores them unless the compression is meant for them."""
    return (1,) if layout.compression in (COMPRESSION.NONE, COMPRESSION.PACKBITS) else (1, _HORIZONTAL)


def _for_each(page: TiffPage, tag: int, default: int) -> tuple[int, ...]:
    """Values of a tag that has one for each sample."""
    value = page.tags.valueof(tag, default)
    return tuple(value) if isinstance(value, tuple) else (int(value),)


def _orientation(page: TiffPage) -> int:
    value = page.tags.valueof(274)
    if value is None:  # Some editors write it into their own packet of metadata alone.
        found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', page.tags.valueof(700, b"") or b"")
        value = found[1] if found else 1
    return int(value)


def _number_of_images(file: TiffFile) -> int:
    """Pages, or the images that one page stands for: ImageJ describes stacks in the text of their first page."""
    pages, page = len(file.pages), file.pages.first
    if pages > 1:
        return pages
    return max(page.imagedepth, sum(math.prod(series.shape) for series in file.series) // max(1, page.size))


def _problem(layout: TiffLayout) -> str | None:
    """Why these pixels are not read; ``None``: they are."""
    gray = layout.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
    color = layout.photometric == PHOTOMETRIC.RGB or (
        layout.photometric == PHOTOMETRIC.YCBCR and layout.compression == COMPRESSION.JPEG
    )
    bits, formats = set(layout.bits), set(layout.sample_format)
    if layout.images != 1:
        return f"holds {layout.images} images"
    if layout.photometric is None:
        return "does not say whether 0 is black or white"
    if not gray and not color:
        return f"has photometric interpretation {_name(PHOTOMETRIC, layout.photometric)}"
    if layout.extra_samples or layout.samples != (1 if gray else 3):
        return "has alpha or extra samples" if layout.extra_samples else f"has {layout.samples} samples a pixel"
    if formats not in ({SAMPLEFORMAT.UINT}, {SAMPLEFORMAT.IEEEFP}):
        return "holds signed or complex numbers"
    if len(bits) != 1 or not bits <= ({32, 64} if layout.is_float else {8, 16} if color else {2, 4, 8, 16}):
        return f"has {'/'.join(map(str, layout.bits))} bits a sample"
    if layout.width * layout.height > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
        return f"claims {layout.width * layout.height} pixels"  # The bound of Pillow, which reads the other formats.
    return None


def _check_segments(page: TiffPage, layout: TiffLayout, path: Path) -> None:
    """Raise unless every strip or tile lies in the file: those missing would be filled with zeros."""
    size, offsets, lengths = path.stat().st_size, page.dataoffsets, page.databytecounts
    intact = len(offsets) == len(lengths) == math.prod(page.chunked) and all(
        length > 0 and offset + length <= size for offset, length in zip(offsets, lengths, strict=True)
    )
    claimed = layout.width * layout.height * layout.samples * layout.bits[0] // 8
    if not intact or claimed > _BIGGEST_RATIOS[COMPRESSION(layout.compression)] * sum(lengths):
        raise ImageError(f"{path} is damaged: parts of its pixels are missing; get the file again")


def _black_at_zero(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Values whose 0 is white, from their true maximum down: that of the integer type, or 1."""
    top = 1 if values.dtype.kind == "f" else 2 ** (8 * values.dtype.itemsize) - 1
    return np.asarray(np.subtract(values.dtype.type(top), values))


def _read_with_pillow(path: Path, layout: TiffLayout) -> NDArray[np.generic]:
    # Not by its name: Pillow 13 maps a turned file into memory with sides exchanged, and shears its rows.
    with path.open("rb") as file:
        values = _decode_with_pillow(file, layout)
    if values is None:
        raise ImageError(f"{path} has a compression that is not decoded for such pixels (TIFF of {layout}); {_ADVICE}")
    if layout.compression == COMPRESSION.JPEG:
        again = _decode_with_pillow(with_segments(path, with_filler), layout)
        if again is None or not np.array_equal(values, again):
            raise ImageError(f"{path} is damaged: a part of its pixels is missing; get the file again")
    return values


def _decode_with_pillow(file: BinaryIO, layout: TiffLayout) -> NDArray[np.generic] | None:
    """What Pillow decodes; ``None`` if it cannot, or would lose bits."""
    bits = layout.bits[0]
    modes: tuple[str, ...] = ("L",) if bits <= 8 else ("I;16", "I;16B")
    if layout.samples == 3:
        modes = ("RGB",) if bits == 8 else ()
    elif layout.is_float:  # Pillow 13 exchanges the bytes of compressed big-endian ones.
        modes = () if layout.is_big_endian else ("F",)
    try:
        with Image.open(file, formats=("TIFF",)) as image:
            mode = image.mode
            # Only Pillow knows whether it has turned a TIFF already while reading it.
            values = np.asarray(ImageOps.exif_transpose(image)) if mode in modes else None
    except UnidentifiedImageError:
        values = None
    # Pillow inverts up to 8 bits itself.
    return _black_at_zero(values) if values is not None and layout.is_inverted and bits > 8 else values
