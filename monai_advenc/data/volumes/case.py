# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""One patient's volume, its mask and its class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One patient's volume.

    Attributes:
        id: Unique name.
        label: Class name.
        image: File of the image; a folder if it is a DICOM series.
        mask: File of the tumor mask; ``None`` if there is none, which is an error only when the case is cut.
        series_uid: Which series in the folder is the image; ``None`` if there is only one, and for NIfTI.
        problem: Why the files of the case are ambiguous; an error only when the case is cut, so that one patient does
            not stop the others.
    """

    id: str
    label: str
    image: Path
    mask: Path | None
    series_uid: str | None = None
    problem: str | None = None

    @property
    def path(self) -> Path:
        """The image, for messages about the case."""
        return self.image

    def files(self) -> list[Path]:
        """All files of image and mask that are there, sorted."""
        places = [place for place in (self.image, self.mask) if place is not None]
        found = {path for place in places for path in (place, *place.rglob("*")) if path.is_file()}
        return sorted(found)
