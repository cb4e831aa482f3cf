# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""One volume of a patient, its mask and its class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from monai_advenc.data.dicom.folder import dicom_objects
from monai_advenc.data.nifti import files_of_volume
from monai_advenc.errors import VolumeError
from monai_advenc.files.atomic import sha256_of
from monai_advenc.files.names import distinct_ids


@dataclass(frozen=True)
class Case:
    """One volume of a patient.

    Attributes:
        id: Unique name.
        label: Class name.
        image: File of the image; a folder if it is a DICOM series.
        mask: File of the tumor mask; ``None`` if there is none, which is an error only when the case is cut.
        series_uid: Which series in the folder is the image; ``None`` if there is only one, and for NIfTI.
        problem: Why the files of the case are ambiguous; an error only when the case is cut, so that one patient does
            not stop the others.
        patient: Who it is of, by a table or by Patient ID; ``None`` if unknown. It goes into no output and no message.
    """

    id: str
    label: str
    image: Path
    mask: Path | None
    series_uid: str | None = None
    problem: str | None = None
    patient: str | None = field(default=None, repr=False)

    @property
    def path(self) -> Path:
        """The image, for messages about the case."""
        return self.image

    def files(self) -> list[Path]:
        """All files of image and mask that are there, sorted."""
        places = [place for place in (self.image, self.mask) if place is not None]
        found = {path for place in places for path in (place, *place.rglob("*")) if path.is_file()}
        return sorted(found)

    def content(self) -> dict[str, str]:
        """SHA-256 of what the image and the mask are read from: the bytes of every file, not names, sizes or times.

        Both files of a NIfTI pair count, and every image file of a DICOM series, in any order and once if it is there
        several times. Other files in the folder of a series do not count.

        Raises:
            VolumeError: A file cannot be read.
        """
        mask = () if self.mask is None else files_of_volume(self.mask)
        return {"image": _digest_of(self._image_files()), "mask": _digest_of(mask)}

    def _image_files(self) -> Iterable[Path]:
        if not self.image.is_dir():
            return files_of_volume(self.image)
        # A damaged file may be a slice of the series.
        return (
            each.path
            for each in dicom_objects(self.image)
            if each.kind == "damaged" or (each.kind == "image" and self.series_uid in (None, each.series_uid))
        )


def with_distinct_ids(cases: Sequence[Case], root: Path) -> list[Case]:
    """The cases with ids that tell those of one name apart, by classes or folders below that of the data set."""
    # The folder of a case has its name; a file of its own lies next to those of other cases.
    named_by = [each.image if each.image.name == each.id else each.image.parent for each in cases]
    folders = [place.parent if place.name == each.id else place for place, each in zip(named_by, cases, strict=True)]
    named = ((each.label, each.id, folder) for each, folder in zip(cases, folders, strict=True))
    return [replace(each, id=name) for each, name in zip(cases, distinct_ids(named, root), strict=True)]


def _digest_of(files: Iterable[Path]) -> str:
    try:
        digests = {sha256_of(path) for path in files if path.is_file()}
    except OSError as error:
        raise VolumeError(f"cannot read {error.filename} ({error.strerror}); check its permissions") from None
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
