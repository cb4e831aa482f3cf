# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Tell copies of one DICOM object from different images that share a SOP Instance UID.

Careless anonymizers and scripts give several slices one UID. An archive that sends an object twice may use another
transfer syntax and other file meta information. So position and pixels decide, neither UIDs nor bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from monai_advenc.data.dicom.file import read_dicom
from monai_advenc.data.dicom.frame import DicomFrame, decode_frames
from monai_advenc.data.dicom.stack import SAME_DIRECTION, SAME_POSITION_MM
from monai_advenc.errors import VolumeError
from monai_advenc.files.atomic import sha256_of

Frames = tuple[DicomFrame, ...]


def frames_without_copies(files: Mapping[Path, Frames]) -> list[DicomFrame]:
    """The frames of all files, those of an object that is there several times once: from the first of its files.

    Args:
        files: The files of one series with the frames of each, by their headers.

    Returns:
        The frames, in the order of the files.

    Raises:
        VolumeError: Files with one SOP Instance UID hold different images, or a file among them cannot be decoded.
    """
    first_with: dict[str, Path] = {}
    kept: list[DicomFrame] = []
    for path, frames in files.items():
        uid = frames[0].sop_instance_uid
        # A file without UID can be nobody's copy.
        first = first_with.setdefault(uid, path) if uid else path
        if first == path:
            kept += frames
        elif not _are_copies(files[first], frames):
            raise VolumeError(
                f"{first} and {path} hold different images with one SOP Instance UID ({uid}), so slices would be lost; "
                "give each image its own UID, or take out the one that does not belong to the series"
            )
    return kept


def _are_copies(one: Frames, other: Frames) -> bool:
    """Whether two files hold the same images at the same places."""
    if len(one) != len(other) or not all(map(_are_alike, one, other)):
        return False
    paths = one[0].path, other[0].path
    if sha256_of(paths[0]) == sha256_of(paths[1]):
        return True
    values, padding = decode_frames(read_dicom(paths[0], pixels=True), one)
    other_values, other_padding = decode_frames(read_dicom(paths[1], pixels=True), other)
    if not np.array_equal(values, other_values):
        return False
    nothing = np.zeros(values.shape, dtype=bool)
    marked, other_marked = (nothing if each is None else each for each in (padding, other_padding))
    return np.array_equal(marked, other_marked)


def _are_alike(one: DicomFrame, other: DicomFrame) -> bool:
    """Whether two frames have one size, one place and one way to be shown, by their headers."""
    if (one.shape, one.inverted) != (other.shape, other.inverted):
        return False
    if one.plane is None or other.plane is None:
        return one.plane is other.plane and np.allclose(one.unplaced_spacing, other.unplaced_spacing, rtol=1e-3)
    directions = (one.plane.rows + one.plane.columns, other.plane.rows + other.plane.columns)
    return (
        np.allclose(one.plane.position, other.plane.position, rtol=0, atol=SAME_POSITION_MM)
        and np.allclose(*directions, rtol=0, atol=SAME_DIRECTION)
        and np.allclose(one.plane.spacing, other.plane.spacing, rtol=1e-3, atol=0)
    )
