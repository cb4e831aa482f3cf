# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The frame of reference of a series: the origin from which positions of its slices are measured (PS3.3, C.7.4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydicom.dataset import FileDataset

from monai_advenc.data.dicom.file import reading
from monai_advenc.errors import VolumeError


def frame_of_reference_of(headers: Mapping[Path, FileDataset], source: str) -> str:
    """The Frame of Reference UID of a series; empty if no file has one.

    A file without one does not say, and is taken as one of the others.

    Args:
        headers: The files of the series.
        source: Name of the series, for messages.

    Raises:
        VolumeError: Positions are measured from different origins.
    """
    by_uid: dict[str, Path] = {}
    for path, header in headers.items():
        with reading(path):
            by_uid.setdefault(str(header.get("FrameOfReferenceUID") or "").strip(), path)
    by_uid.pop("", None)
    if len(by_uid) > 1:
        first, second = list(by_uid.values())[:2]
        raise VolumeError(
            f"{source} has slices in {len(by_uid)} frames of reference, such as {first.name} and {second.name}, so "
            "their positions do not make one volume: give each acquisition its own series"
        )
    return next(iter(by_uid), "")
