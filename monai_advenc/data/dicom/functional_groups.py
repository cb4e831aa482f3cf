# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Functional groups: where enhanced DICOM objects keep what classic ones have at the top (PS3.3, C.7.6.16)."""

from __future__ import annotations

from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

PER_FRAME: Final = "PerFrameFunctionalGroupsSequence"
SHARED: Final = "SharedFunctionalGroupsSequence"


def new_item(**attributes: Any) -> Dataset:
    """Make an item of a sequence from its attributes by keyword."""
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def functional_groups(derived: Dataset) -> list[Dataset]:
    """The functional groups of an enhanced object: of its frame, and shared by all."""
    return [item for keyword in (PER_FRAME, SHARED) for item in (derived.get(keyword) or [])]


def home_of(derived: Dataset, group: str) -> Dataset:
    """Where an attribute of a functional group stands: in the group, or, in classic objects, at the top."""
    groups = functional_groups(derived)
    if not groups:
        return derived
    for item in groups:
        if item.get(group):
            home: Dataset = item[group].value[0]
            return home
    fresh = Dataset()
    setattr(groups[0], group, Sequence([fresh]))
    return fresh


def keep_one_frame(derived: Dataset, frame: int) -> None:
    """Make a multi-frame object one of the single frame at the 0-based index; classic ones stay as they are."""
    if "NumberOfFrames" in derived:
        derived.NumberOfFrames = 1
        _drop_overlays_of_frames(derived)
    if derived.get(PER_FRAME):
        derived.PerFrameFunctionalGroupsSequence = Sequence([derived.PerFrameFunctionalGroupsSequence[frame]])
    for keyword in ("FrameTimeVector", "FrameLabelVector", "SliceVector"):
        derived.pop(keyword, None)


def _drop_overlays_of_frames(derived: Dataset) -> None:
    """Take out overlays (groups 60xx) that have a plane for each of the frames that are gone."""
    tags = list(derived.keys())
    for group in {tag.group for tag in tags if tag.group >> 8 == 0x60}:
        count = derived.get((group, 0x0015))  # Number of Frames in Overlay.
        if count is not None and int(count.value or 1) > 1:
            for tag in [tag for tag in tags if tag.group == group]:
                del derived[tag]
