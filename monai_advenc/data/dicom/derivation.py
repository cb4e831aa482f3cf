# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Derive a DICOM image from a frame of a DICOM file, with other pixels.

The derived object (PS3.3, C.7.6.1.1.2) has its own UIDs, states its source and its derivation, and keeps everything
else: geometry, windowing, rescale, pixel representation, bits stored. Of a multi-frame file it has the one
frame. The same source, key and options give the same bytes.
"""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom.config
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from monai_advenc.data.dicom.file import PIXELS, reading
from monai_advenc.data.dicom.functional_groups import keep_one_frame
from monai_advenc.data.dicom.geometry import NewGrid, set_geometry
from monai_advenc.data.dicom.identity.rule import coded
from monai_advenc.data.dicom.image_type import set_image_type
from monai_advenc.data.dicom.provenance import (
    SOFTWARE,
    Derivation,
    earlier_codes,
    lossy_compression,
    set_derivation,
    source_references,
)
from monai_advenc.data.quiet_parsers import quiet_parsers
from monai_advenc.errors import ImageError

IMPLEMENTATION_UID: Final = "2.25.276862205406397801495612329264179280374"
"""Implementation Class UID of files that this package writes (PS3.7, D.3.3.2): a random UUID, the same for ever."""

STALE: Final = (
    # Thumbnails and checksums of other pixels, moments of another object's making, pixels themselves.
    *("IconImageSequence", "DigitalSignaturesSequence", "MACParametersSequence", "PixelData", "FloatPixelData"),
    *("DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "DataSetTrailingPadding"),
    *("InstanceCreationDate", "InstanceCreationTime", "InstanceCreatorUID", "PixelDataProviderURL"),
    # Parts of a larger object, or several frames, which a single frame is not.
    *("ConcatenationUID", "InConcatenationNumber", "ConcatenationFrameOffsetNumber"),
    *("SmallestPixelValueInSeries", "LargestPixelValueInSeries"),
)


def derive(
    source: FileDataset,
    stored: NDArray[Any],
    derivation: Derivation,
    *,
    frame: int | None = None,
    grid: NewGrid | None = None,
    others: Iterable[tuple[FileDataset, int | None]] = (),
    padding: int | None = None,
) -> Dataset:
    """The derived object of one frame.

    Args:
        source: The file it comes from.
        stored: Stored values ``(rows, columns)``, whole numbers in the range that the source's bits hold.
        derivation: How the pixels were made.
        frame: 0-based index of the frame in a multi-frame file.
        grid: Where the pixels lie now; ``None``: where they did, and then ``stored`` has the source's shape.
        others: Further files and frames that the pixels come from.
        padding: Stored value that stands for padding, where the source has none.

    Returns:
        The data set, with pixels, for :func:`encode_dicom`.

    Raises:
        ImageError: The source cannot be written: a modality LUT that is a table, no SOP class, color.
        VolumeError: Its header is damaged.
    """
    require_writable(source)
    with reading(_path_of(source)), as_lenient_as_the_source():
        derived = copy.deepcopy(_without_pixels(source))
        origin = source_references(source, frame) + [
            item for file, index in others for item in source_references(file, index)
        ]
        earlier = earlier_codes(source)
        lossy = lossy_compression(source)
        for keyword in STALE:
            derived.pop(keyword, None)
        keep_one_frame(derived, frame or 0)
        if frame is not None:
            derived.InstanceNumber = frame + 1  # They make up one series, each a file of its own.
        if grid is not None:
            set_geometry(derived, grid)
        if derivation.identity is not None:
            derivation.identity.apply(derived)
        instance, series = (str(source.get(name) or "") for name in ("SOPInstanceUID", "SeriesInstanceUID"))
        # Of one source several objects may be made, for two tumors in it for example: other pixels, another object.
        shown = hashlib.sha256(np.ascontiguousarray(stored).tobytes()).hexdigest()
        parts = (instance, str(frame), *_place(grid), _shape(stored), shown)
        derived.SOPInstanceUID = derivation.new_uid("instance", *parts)
        # Files that name no series are not all of one: those of two patients must not become one series.
        owner = [] if series else [str(source.get(name) or "") for name in ("StudyInstanceUID", "PatientID")]
        derived.SeriesInstanceUID = derivation.new_uid("series", series, *owner)
        set_image_type(derived, reformatted=grid is not None and grid.reformatted)
        # A working copy of ours knows the series that it was cut from.
        sources = "" if earlier else series
        how = [*earlier, *([] if derivation.code is None else [coded(derivation.code)])]
        set_derivation(derived, derivation, origin, how, sources)
        for keyword, value in lossy.items():
            setattr(derived, keyword, value)
        _set_pixels(derived, stored)
        if padding is not None:
            is_signed = derived.get("PixelRepresentation") == 1
            derived.add_new("PixelPaddingValue", "SS" if is_signed else "US", padding)
        return derived


def require_writable(source: Dataset) -> None:
    """Raise :class:`ImageError` unless an image can be derived from this one; :class:`VolumeError` if it is damaged."""
    name = _path_of(source)
    with reading(name), as_lenient_as_the_source():
        if source.get("ModalityLUTSequence"):
            raise ImageError(
                f"{name} has a modality LUT that is a table; expected rescale slope and intercept: convert it first"
            )
        if int(source.get("SamplesPerPixel") or 1) != 1 or "BitsStored" not in source:
            raise ImageError(
                f"{name} has colors or float pixels; expected gray whole numbers to write DICOM: convert it first"
            )
        if not source.get("SOPClassUID") or not UID(str(source.SOPClassUID)).is_valid:
            raise ImageError(
                f"{name} has no valid SOP Class UID; expected one to derive DICOM from it: get the file again"
            )


def _path_of(source: Dataset) -> Path:
    return Path(getattr(source, "filename", None) or "the image")


def encode_dicom(derived: Dataset) -> bytes:
    """The file of a derived object: Explicit VR Little Endian, uncompressed, no time and no name of its own."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = derived.SOPClassUID
    meta.MediaStorageSOPInstanceUID = derived.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = SOFTWARE.upper().replace("-", "_")
    derived.file_meta = meta
    buffer = io.BytesIO()
    with reading(_path_of(derived)), as_lenient_as_the_source():
        dcmwrite(buffer, derived, enforce_file_format=True)
    return buffer.getvalue()


@contextmanager
def as_lenient_as_the_source() -> Iterator[None]:
    """Disable validation: values of the source that break a rule stay as they are."""
    with pydicom.config.disable_value_validation(), quiet_parsers():
        yield


def _without_pixels(source: FileDataset) -> Dataset:
    """A data set of the same elements but the pixels, which are large."""
    kept = Dataset({tag: source.get_item(tag) for tag in list(source.keys()) if tag not in PIXELS})
    implicit, little_endian = source.original_encoding
    kept.set_original_encoding(implicit, little_endian, source.original_character_set)
    return kept


def _place(grid: NewGrid | None) -> Iterable[str]:
    return [] if grid is None else [repr(np.round(grid.affine, 6).tolist())]


def _shape(stored: NDArray[Any]) -> str:
    return "x".join(map(str, stored.shape))


def _set_pixels(derived: Dataset, stored: NDArray[Any]) -> None:
    bits = int(derived.BitsAllocated)
    derived.BitsAllocated = bits = 8 if bits <= 8 else 16 if bits <= 16 else 32
    kind = "i" if derived.get("PixelRepresentation") == 1 else "u"
    derived.Rows, derived.Columns = stored.shape
    for keyword, value in (("SmallestImagePixelValue", stored.min()), ("LargestImagePixelValue", stored.max())):
        if keyword in derived:
            del derived[keyword]
            derived.add_new(keyword, "SS" if kind == "i" else "US", int(value))
    content = stored.astype(f"<{kind}{bits // 8}").tobytes()
    derived.add_new("PixelData", "OB" if bits == 8 else "OW", content + b"\0" * (len(content) % 2))
