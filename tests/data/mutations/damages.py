"""Ways to damage a file: bits, bytes, numbers and lengths, also below its compression."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import pydicom
import tifffile
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless

HEADER = 1500
"""Bytes in which most numbers of a header lie."""

LONG_LENGTHS = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
"""Value representations of explicit DICOM whose length has four bytes."""


class Damage(NamedTuple):
    """What happened to a file.

    Attributes:
        name: In words.
        content: The damaged bytes.
        shows: Whether the file itself shows that it is damaged: a checksum is wrong, or a compressed stream is cut.
    """

    name: str
    content: bytes
    shows: bool = False


Change = Callable[[bytes, random.Random], bytes]


def flip_bits(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    end = len(content) if chance.random() < 0.6 else min(len(content), HEADER)
    for _ in range(chance.choice((1, 1, 2, 8))):
        damaged[chance.randrange(end)] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def cut_end(content: bytes, chance: random.Random) -> bytes:
    return content[: len(content) - chance.choice((1, 2, 4, 8, chance.randrange(1, len(content))))]


def remove_range(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    return content[:start] + content[start + chance.choice((1, 2, 8, 100, 1000)) :]


def insert_range(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    return content[:start] + chance.randbytes(chance.choice((1, 2, 8, 100, 1000))) + content[start:]


def zero_range(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    end = min(len(content), start + chance.choice((4, 16, 100, 1000)))
    return content[:start] + bytes(end - start) + content[end:]


def change_number(content: bytes, chance: random.Random) -> bytes:
    """A number of two, four or eight bytes in the header becomes an extreme one."""
    code = chance.choice("hHiIqQfd")
    size = struct.calcsize(code)
    place = chance.randrange(0, max(1, min(len(content), HEADER) - size), 2)
    top = 2 ** (8 * size - 1)
    values: dict[bool, tuple[float, ...]] = {
        True: (0.0, -1.0, float("nan"), float("inf"), 1e30, 1e9, 1e-30, 0.5),
        False: (0, 1, 2, top - 1, *((-1, -top) if code.islower() else (2 * top - 1, top))),
    }
    return _with(content, place, struct.pack(chance.choice("<>") + code, chance.choice(values[code in "fd"])))


def change_length(content: bytes, chance: random.Random) -> bytes:
    """A length, count or size that the format has becomes another one."""
    places = length_fields(content)
    if not places:
        return flip_bits(content, chance)
    place, code = chance.choice(places)
    size = struct.calcsize(code)
    (value,) = struct.unpack_from(code, content, place)
    if code[-1] == "f":
        return _with(
            content, place, struct.pack(code, chance.choice((0, value - 1, value + 1, 1e9, -value, 2 * value)))
        )
    low, high = (-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1) if code[-1].islower() else (0, 2 ** (8 * size) - 1)
    other = chance.choice((0, 1, value - 1, value + 1, value + 2, value // 2, 2 * value, high, high // 2, high - 1))
    return _with(content, place, struct.pack(code, min(max(other, low), high)))


def _with(content: bytes, place: int, value: bytes) -> bytes:
    return content[:place] + value + content[place + len(value) :]


CHANGES: dict[str, Change] = {
    "bits flipped": flip_bits,
    "end cut": cut_end,
    "range removed": remove_range,
    "range inserted": insert_range,
    "range zeroed": zero_range,
    "number changed": change_number,
    "length changed": change_length,
}


def length_fields(content: bytes) -> list[tuple[int, str]]:
    """Places of the numbers that say how much follows, and their formats for :mod:`struct`."""
    if content[128:132] == b"DICM":
        return _dicom_lengths(content)
    if content.startswith(b"\x89PNG"):
        return _png_lengths(content)
    if content.startswith(b"\xff\xd8"):
        return [(at + 2, ">H") for at in range(2, len(content) - 4) if content[at] == 0xFF and content[at + 1] > 0xBF]
    if content[:4] in (b"II*\0", b"MM\0*"):
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            tags = list(file.pages.first.tags)
            return [(tag.offset + each, "<I") for tag in tags for each in (4, 8)]
    if content.startswith(b"\x1f\x8b"):
        return [(len(content) - 4, "<I"), (len(content) - 8, "<I")]
    if content[:4] == b"\x5c\x01\0\0":
        shape = [(40 + 2 * axis, "<h") for axis in range(8)]
        return [(0, "<i"), *shape, (70, "<h"), (72, "<h"), (108, "<f"), (348, "<i")][: 99 if len(content) > 352 else -1]
    return []


def _dicom_lengths(content: bytes) -> list[tuple[int, str]]:
    dataset = pydicom.dcmread(io.BytesIO(content))
    places = []
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        if isinstance(raw, pydicom.dataelem.RawDataElement) and raw.VR:
            code = "<I" if raw.VR in LONG_LENGTHS else "<H"
            places.append((raw.value_tell - struct.calcsize(code), code))
    # What the header says of the pixels matters most.
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        if keyword in dataset:
            tag = struct.pack("<HH", *divmod(pydicom.datadict.tag_for_keyword(keyword) or 0, 2**16)) + b"US\2\0"
            places += [(content.index(tag) + 8, "<H")] * 3
    return places


def _png_lengths(content: bytes) -> list[tuple[int, str]]:
    places, at = [], 8
    while at < len(content):
        places.append((at, ">I"))
        at += 12 + int(struct.unpack_from(">I", content, at)[0])
    return places


def damage(content: bytes, chance: random.Random) -> Damage:
    """Damage a file in one of the ways that there are for its format."""
    name = chance.choice(list(CHANGES))
    change = CHANGES[name]
    if content.startswith(b"\x1f\x8b"):
        if chance.random() < 0.4:
            return Damage(f"{name} below gzip", gzip.compress(change(gzip.decompress(content), chance), mtime=0))
        return Damage(name, change(content, chance), shows=True)
    if content.startswith(b"\x89PNG"):
        if chance.random() < 0.2:
            return Damage("header of PNG changed", _png_with_other_header(content, chance))
        return Damage(name, change(content, chance), shows=True)
    if content.startswith(b"\xff\xd8"):
        return _damaged_jpeg(content, name, chance)
    if content[128:132] == b"DICM" and chance.random() < 0.4:
        found = _damaged_codestream(content, name, chance)
        if found is not None:
            return found
    return Damage(name, change(content, chance), shows=name == "end cut")


def _png_with_other_header(content: bytes, chance: random.Random) -> bytes:
    """Width, height, depth or color that a right checksum confirms."""
    place, code = chance.choice(((16, ">I"), (20, ">I"), (24, ">B"), (25, ">B")))
    values = (0, 1, 31, 33, 4000, 60000, 2**31 - 1) if code == ">I" else (0, 1, 2, 3, 4, 6, 8, 16, 255)
    changed = _with(content, place, struct.pack(code, chance.choice(values)))
    return _with(changed, 29, struct.pack(">I", zlib.crc32(changed[12:29])))


def _damaged_jpeg(content: bytes, name: str, chance: random.Random) -> Damage:
    if name == "end cut" and chance.random() < 0.6:
        count = chance.choice((1, 2, 8, 50, chance.randrange(1, len(content) - 4)))
        return Damage("end cut, end of image kept", content[: -2 - count] + b"\xff\xd9", shows=True)
    return Damage(name, CHANGES[name](content, chance), shows=name == "end cut")


def _damaged_codestream(content: bytes, name: str, chance: random.Random) -> Damage | None:
    """Damage the compressed pixels in a DICOM file, whose encapsulation stays right."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return None
    count = int(dataset.get("NumberOfFrames") or 1)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=count))
    index = chance.randrange(count)
    codestream = frames[index]
    if name == "end cut" and dataset.file_meta.TransferSyntaxUID != RLELossless:
        codestream = codestream[: codestream.rindex(b"\xff\xd9")]
        cut = chance.choice((1, 2, 8, 50, chance.randrange(1, len(codestream))))
        name, frames[index] = "codestream cut, end of image kept", codestream[:-cut] + b"\xff\xd9"
    else:
        frames[index] = CHANGES[name](codestream, chance) or b"\0\0"
        name = f"{name} in the codestream"
    dataset.PixelData = encapsulate(frames)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return Damage(name, buffer.getvalue(), shows="cut" in name)
