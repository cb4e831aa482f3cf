# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The frame of reference of a series: the origin from which positions of its slices are measured (PS3.3, C.7.4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydicom.dataset import FileDataset

from monai_advenc.errors import VolumeError


def require_one_frame_of_reference(headers: Mapping[Path, FileDataset], source: str) -> None:
    """Raise :class:`VolumeError` if positions of a series' files are measured from different origins.

    A file without a Frame of Reference UID does not say, and is taken as one of the others.
    """
    by_uid: dict[str, Path] = {}
    for path, header in headers.items():
        by_uid.setdefault(str(header.get("FrameOfReferenceUID") or "").strip(), path)
    by_uid.pop("", None)
    if len(by_uid) > 1:
        first, second = list(by_uid.values())[:2]
        raise VolumeError(
            f"{source} has slices in {len(by_uid)} frames of reference, such as {first.name} and {second.name}, so "
            "their positions do not make one volume: give each acquisition its own series"
        )
