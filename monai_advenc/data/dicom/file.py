# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read one DICOM file with pydicom, and recognize the kind of object that it holds."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pydicom
from pydicom import datadict, uid
from pydicom.dataset import FileDataset, FileMetaDataset

from monai_advenc.data.quiet_parsers import quiet_parsers
from monai_advenc.errors import AdvencError, VolumeError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")

Kind = Literal["image", "segmentation", "contours", "other", "damaged"]

SEGMENTATION_CLASSES = (uid.SegmentationStorage, "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes of Segmentation Storage and Label Map Segmentation Storage (DICOM PS3.4, annex B)."""

PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
"""Tags of pixels: whole numbers, and floats of both kinds."""

NO_IMAGES = ("RTDOSE", "RTIMAGE", "RTPLAN", "PR", "KO", "SR", "REG", "DOC", "AU", "ECG")
"""Modalities whose objects are no pictures of a body, even where they have pixels."""

_MODALITY_OF_CLASS = {
    **dict.fromkeys(SEGMENTATION_CLASSES, "SEG"),
    uid.RTStructureSetStorage: "RTSTRUCT",
    uid.RTDoseStorage: "RTDOSE",
    uid.RTPlanStorage: "RTPLAN",
}
"""SOP classes that say what an object is, whatever its modality says."""

_WORDS = {
    "RTDOSE": "a radiation dose",
    "RTIMAGE": "a portal image",
    "RTPLAN": "a treatment plan",
    "RTSTRUCT": "a structure set",
    "SEG": "a segmentation",
    "PR": "a presentation state",
    "KO": "a selection of images",
    "SR": "a report",
    "REG": "a registration",
    "DOC": "a document",
}
"""What objects of a modality are, for messages."""


def looks_like_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do: with the prefix of PS3.10, or, without it, with group 2 or 8.

    Files without the prefix have been written by old software and by hand; their first tag is low.
    """
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or (
        start[:1] in (b"\x02", b"\x08") and start[1:2] == b"\x00" and start[3:4] == b"\x00"
    )


def read_dicom(path: Path, *, pixels: bool) -> FileDataset:
    """Read a file, with or without its file meta information.

    Args:
        path: The file.
        pixels: Whether the pixels are needed; without them only the header is read.

    Returns:
        The data set; its transfer syntax is always set.

    Raises:
        VolumeError: Missing, damaged, or no DICOM.
    """
    if not path.is_file():
        raise VolumeError(f"{path} does not exist; check the path")
    if not looks_like_dicom(path):
        raise VolumeError(
            f"{path} is no DICOM file; expected a preamble or a first tag of group 2 or 8: check the file"
        )

    with reading(path):
        dataset = parse_dicom(path, stop_before_pixels=not pixels)
        if "SOPClassUID" not in dataset and "Rows" not in dataset:
            raise VolumeError(f"{path} is no DICOM image: neither SOP Class UID nor Rows; get the file again")
        _set_transfer_syntax(dataset)
        return dataset


def parse_dicom(path: Path, **options: Any) -> FileDataset:
    """Read a file with pydicom, in memory that its size bounds.

    Raises:
        Exception: Whatever the parser raises for a damaged file.
    """
    with _BoundedReader(io.FileIO(path)) as file:
        return pydicom.dcmread(file, force=True, **options)


class _BoundedReader(io.BufferedReader):
    """A file that takes no memory for more bytes than it has: a damaged length of an element may claim 4 GiB."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def drop_pixels(dataset: FileDataset) -> None:
    """Take the pixels out of a data set, and with them most of its memory; the rest of the header stays."""
    for tag in PIXELS:
        dataset.pop(tag, None)


def _set_transfer_syntax(dataset: FileDataset) -> None:
    """Set a missing transfer syntax to the encoding that pydicom read the first tags with."""
    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = FileMetaDataset()
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Report damage in one line while a data set is used; pydicom parses each element only on access.

    Raises:
        VolumeError: A parser raised any exception for ``path``.
    """
    try:
        with quiet_parsers():
            yield
    except AdvencError as error:
        # What a message quotes from a file may hold line breaks.
        raise type(error)(_CONTROL.sub(" ", str(error))) from None
    except Exception as error:  # noqa: BLE001 - Parsers raise whatever the damaged byte led them to.
        problem = " ".join(str(error).split())[:160] or type(error).__name__
        raise VolumeError(f"cannot read {path}: damaged or not supported ({problem}); get the file again") from None


def _sop_class(dataset: pydicom.Dataset) -> str:
    meta = getattr(dataset, "file_meta", None) or pydicom.Dataset()
    return str(dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")


def modality_of(dataset: pydicom.Dataset) -> str:
    """The modality of a data set: of its SOP class where that is clear, else as it says; empty if it does not say."""
    return _MODALITY_OF_CLASS.get(_sop_class(dataset)) or " ".join(str(dataset.get("Modality") or "").split())


def in_words(modality: str) -> str:
    """What an object of a modality is, for messages."""
    return f"{modality}, {_WORDS[modality]}" if modality in _WORDS else modality or "an object without modality"


def kind_of(dataset: pydicom.Dataset) -> Kind:
    """What a data set holds, from its SOP class, modality and size; damaged if it is an image without a size."""
    sop_class, modality = _sop_class(dataset), modality_of(dataset)
    if modality == "SEG":
        return "segmentation"
    if modality == "RTSTRUCT":
        return "contours"
    if modality in NO_IMAGES or sop_class == uid.MediaStorageDirectoryStorage:
        return "other"
    if "Rows" in dataset and "Columns" in dataset:
        return "image"
    # Every object of a study has a series; a file without one was cut off.
    is_whole = sop_class and dataset.get("SeriesInstanceUID") and "Image Storage" not in uid.UID(sop_class).name
    return "other" if is_whole else "damaged"


def numbers(dataset: pydicom.Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """The ``count`` numbers of an element; ``None`` where it is missing or empty, as often in real files.

    Raises:
        VolumeError: Another number of values, or one that is no finite number.
    """
    try:
        value: Any = dataset.get(keyword)
        if value is None or value == "" or (count > 1 and len(value) == 0):
            return None
        found = tuple(float(each) for each in (value if count > 1 else (value,)))
    except (ValueError, TypeError, ArithmeticError) as error:
        tag = datadict.tag_for_keyword(keyword) or 0
        problem = " ".join(str(error).split())[:120]
        raise VolumeError(
            f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X}) holds no {count} numbers ({problem}); "
            "correct it in the file"
        ) from None
    if len(found) != count or not all(abs(each) < 1e30 for each in found):
        raise VolumeError(f"{keyword} has the values {found[:8]}; expected {count} finite numbers")
    return found
