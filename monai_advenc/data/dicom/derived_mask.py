# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Derive a segmentation or structure set whose references point to derived images instead of their sources."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.utils import pack_bits

from monai_advenc.data.dicom.derivation import STALE, as_lenient_as_the_source
from monai_advenc.data.dicom.file import read_dicom, reading
from monai_advenc.data.dicom.provenance import Derivation, add_contribution, describe_series

_OF_PATIENT_AND_STUDY: Final = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID"),
    *("StudyDate", "StudyTime", "StudyDescription", "AccessionNumber", "ReferringPhysicianName"),
)
"""What archives tell patients and studies by (PS3.3, C.7.1.1 and C.7.2.1); optional or allowed to be empty there."""

MASK_TITLE: Final = "mask of images with perturbed slices"
"""Ends the series description of a mask that was written with derived images."""


@dataclass(frozen=True)
class DerivedImages:
    """The images that a mask is to refer to.

    Attributes:
        frames: For each derived image, in any order: SOP Instance UID of the source, 0-based index of its frame
            (``None``: it has one), SOP Class UID and SOP Instance UID of the derived image.
        series: Series Instance UIDs: of the sources, and of the derived images.
        header: The header of one of the derived images.
    """

    frames: Sequence[tuple[str, int | None, str, str]]
    series: tuple[str, str]
    header: Dataset


def read_mask_object(path: Path) -> FileDataset:
    """Read a segmentation or structure set with its pixels, uncompressed and little-endian.

    Raises:
        VolumeError: Damaged.
    """
    dataset = read_dicom(path, pixels=True)
    with reading(path):
        _, little_endian = dataset.original_encoding
        if "PixelData" in dataset and (dataset.file_meta.TransferSyntaxUID.is_compressed or not little_endian):
            bits = int(dataset.BitsAllocated)
            values = dataset.pixel_array
            content = pack_bits(values, pad=True) if bits == 1 else values.astype(f"<u{bits // 8}").tobytes()
            dataset.add_new("PixelData", "OW" if bits == 16 else "OB", content + b"\0" * (len(content) % 2))
        return dataset


def derive_mask(source: FileDataset, derivation: Derivation, images: DerivedImages, path: Path) -> Dataset:
    """The mask of derived images.

    Regions, pixels and positions stay. The identity follows the derivation's rule; UIDs are new, as those of the images
    are, and the frame of reference is theirs. A reference to a frame of a multi-frame source becomes one to the image
    that was made of this frame.

    Args:
        source: The mask of the sources, from :func:`read_mask_object`.
        derivation: How the images were made.
        images: The derived images and their sources.
        path: The file of ``source``, for messages.

    Returns:
        The data set, for :func:`monai_advenc.data.dicom.derivation.encode_dicom`.

    Raises:
        VolumeError: The header is damaged.
    """
    with reading(path), as_lenient_as_the_source():
        derived = copy.deepcopy(source)
        for keyword in STALE:
            if keyword != "PixelData":
                derived.pop(keyword, None)
        if derivation.identity is not None:
            derivation.identity.apply(derived)
            if derivation.identity.choice != "keep":
                _join_patient(derived, images.header)
        _point(derived, _targets(images, derivation), {derivation.public(images.series[0]): images.series[1]})
        # Masks of the same file that refer to other images are other objects.
        shown = sorted(uid for *_, uid in images.frames)
        own, series = (str(source.get(name) or "") for name in ("SOPInstanceUID", "SeriesInstanceUID"))
        derived.SOPInstanceUID = derivation.new_uid("mask instance", own, *shown)
        derived.SeriesInstanceUID = derivation.new_uid("mask series", series or own, *shown)
        describe_series(derived, MASK_TITLE)
        add_contribution(derived, MASK_TITLE)
        return derived


def _join_patient(derived: Dataset, image: Dataset) -> None:
    """Put a mask into the patient and study of its images: what replaces an identity depends on the object's class."""
    for keyword in _OF_PATIENT_AND_STUDY:
        derived.pop(keyword, None)
        if keyword in image:
            derived[keyword] = copy.deepcopy(image[keyword])


_Targets = Mapping[str, Sequence[tuple[int | None, str, str]]]
"""By the UID of a source as it is referred to: the frames that images were made of, their classes and UIDs."""


def _targets(images: DerivedImages, derivation: Derivation) -> _Targets:
    found: dict[str, list[tuple[int | None, str, str]]] = {}
    for source, frame, sop_class, uid in images.frames:
        if source:
            found.setdefault(derivation.public(source), []).append((frame, sop_class, uid))
    return found


def _point(dataset: Dataset, targets: _Targets, series: Mapping[str, str]) -> None:
    """Replace the references in a data set and in all its sequences, in place."""
    uid = str(dataset.get("SeriesInstanceUID") or "")
    if uid in series:
        dataset.SeriesInstanceUID = series[uid]
    for tag in list(dataset.keys()):
        element: Any = dataset[tag]
        if element.VR == "SQ":
            for item in element.value:
                _point(item, targets, series)
            element.value = [new for item in element.value for new in _pointed(item, targets)]


def _pointed(item: Dataset, targets: _Targets) -> Iterator[Dataset]:
    """The items that stand for an item of a sequence: one for each derived image that it refers to."""
    found = targets.get(str(item.get("ReferencedSOPInstanceUID") or ""))
    if not found:
        yield item
        return
    given: Any = item.get("ReferencedFrameNumber")
    numbers = [] if given in (None, "") else [int(n) for n in (given if hasattr(given, "__iter__") else [given])]
    for frame, sop_class, uid in found:
        if frame is None or not numbers or frame + 1 in numbers:
            new = copy.deepcopy(item)
            new.ReferencedSOPClassUID, new.ReferencedSOPInstanceUID = sop_class, uid
            new.pop("ReferencedFrameNumber", None)
            yield new
