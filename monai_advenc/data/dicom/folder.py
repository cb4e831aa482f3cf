# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Find the DICOM objects below a folder by content: images, segmentations, contours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from monai_advenc.data.dicom.file import Kind, kind_of, looks_like_dicom, modality_of, parse_dicom
from monai_advenc.data.patients import patient_in_header
from monai_advenc.data.quiet_parsers import quiet_parsers
from monai_advenc.errors import VolumeError

_TAGS = [
    "SOPClassUID",
    "Modality",
    "SeriesInstanceUID",
    "Rows",
    "Columns",
    "ReferencedSeriesSequence",
    "ReferencedFrameOfReferenceSequence",
]


_MASKS: Final = ("segmentation", "contours")

_FOLDERS_OF_A_CASE: Final = 4
"""Of more folders the headers are not read only to word a refusal."""

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
"""Suffixes of DICOM files; a file with one of them that does not look like DICOM is damaged."""


@dataclass(frozen=True)
class DicomObject:
    """A DICOM file by its header.

    Attributes:
        path: The file.
        kind: What it holds.
        modality: Modality.
        series_uid: Series Instance UID.
        refers_to: Series Instance UIDs of the images that a segmentation or contours were drawn on.
    """

    path: Path
    kind: Kind
    modality: str
    series_uid: str
    refers_to: frozenset[str]


def dicom_objects(place: Path) -> tuple[DicomObject, ...]:
    """The DICOM files in and below a folder (hidden ones left out), or the file itself; sorted by path.

    The result includes damaged files, so that no volume silently lacks a slice.
    """
    return tuple(
        _object(path) for path in _files(place) if looks_like_dicom(path) or path.suffix.lower() in DICOM_SUFFIXES
    )


def has_dicom(folder: Path) -> bool:
    """Whether there is a DICOM file in or below a folder."""
    return any(looks_like_dicom(path) for path in _files(folder))


def _files(place: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    if place.is_file():
        yield place
    real = place.resolve()
    # A link may lead to a folder that it lies in.
    if not place.is_dir() or real in above:
        return
    try:
        inside = sorted(place.iterdir())
    except OSError as error:
        raise VolumeError(f"cannot read the folder {place} ({error.strerror}); check its permissions") from None
    for path in inside:
        if not path.name.startswith("."):
            yield from _files(path, above | {real})


def _object(path: Path) -> DicomObject:
    try:
        with quiet_parsers():
            header = parse_dicom(path, stop_before_pixels=True, specific_tags=list(_TAGS))
            return DicomObject(
                path=path,
                kind=kind_of(header),
                modality=modality_of(header),
                series_uid=str(header.get("SeriesInstanceUID") or ""),
                refers_to=frozenset(_referenced_series(header)),
            )
    except Exception:  # noqa: BLE001 - Parsers raise any exception for damaged files; reading the file reports it.
        return DicomObject(path, "damaged", "", "", frozenset())


def _referenced_series(header: Dataset) -> Iterator[str]:
    """Of a segmentation (PS3.3, C.8.20.2) or of a structure set (PS3.3, C.8.8.5)."""
    for series in header.get("ReferencedSeriesSequence") or []:
        yield str(series.get("SeriesInstanceUID") or "")
    for frame in header.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                yield str(series.get("SeriesInstanceUID") or "")


def dicom_in_words(objects: Sequence[DicomObject]) -> str:
    """What DICOM files are: ``60 DICOM files of 2 patients: 2 series of images (CT), no mask``; headers tell it."""
    series = {each.series_uid: each for each in objects if each.kind == "image"}
    masks = sum(each.kind in _MASKS for each in objects)
    others = len(objects) - masks - sum(each.kind == "image" for each in objects)
    people = {patient_in_header(each.path) for each in series.values()} - {None}
    told = f"{len(objects)} DICOM file{'' if len(objects) == 1 else 's'}"
    if people:
        told += f" of {len(people)} patient{'' if len(people) == 1 else 's'} by their Patient ID"
    modalities = ", ".join(sorted({each.modality for each in series.values() if each.modality}))
    kinds = [f"{len(series)} series of images" + (f" ({modalities})" if modalities else "")]
    kinds += [f"{masks} with masks (SEG or RTSTRUCT)" if masks else "no mask (SEG or RTSTRUCT)"]
    kinds += [f"{others} other or damaged"] if others else []
    return f"{told}: {', '.join(kinds)}"


def is_of_one_case(folders: Sequence[Path]) -> bool:
    """Whether one of a few folders holds a single series of DICOM images and another only masks, as of one case."""
    if not 2 <= len(folders) <= _FOLDERS_OF_A_CASE:
        return False
    objects = [dicom_objects(folder) for folder in folders]
    series = {each.series_uid for of_folder in objects for each in of_folder if each.kind == "image"}
    kinds = [{each.kind for each in of_folder} for of_folder in objects]
    return len(series) == 1 and any(each and each <= {*_MASKS} for each in kinds)
