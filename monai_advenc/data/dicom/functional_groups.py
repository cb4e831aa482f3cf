# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Functional groups: where enhanced DICOM objects keep what classic ones have at the top (PS3.3, C.7.6.16)."""

from __future__ import annotations

from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

PER_FRAME: Final = "PerFrameFunctionalGroupsSequence"
SHARED: Final = "SharedFunctionalGroupsSequence"

_VECTORS: Final = (
    *("FrameTimeVector", "FrameLabelVector", "EnergyWindowVector", "DetectorVector", "PhaseVector", "RotationVector"),
    *("RRIntervalVector", "TimeSlotVector", "SliceVector", "AngularViewVector", "TimeSliceVector"),
)
"""Attributes with a value for each frame, to which Frame Increment Pointer can point (PS3.3, C.7.6.6 and C.8.4.8)."""


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
    _keep_value_of_frame(derived, frame)


def _keep_value_of_frame(derived: Dataset, frame: int) -> None:
    """Shorten attributes that have a value for each frame to the value of the frame that is left."""
    for keyword in _VECTORS:
        values = _values(derived, keyword)
        if frame < len(values):
            # Times are those since the frame before, and the first has none.
            setattr(derived, keyword, 0 if keyword == "FrameTimeVector" else values[frame])
        else:
            derived.pop(keyword, None)
    if any(pointer not in derived for pointer in _values(derived, "FrameIncrementPointer")):
        del derived.FrameIncrementPointer


def _values(derived: Dataset, keyword: str) -> list[Any]:
    value = derived.get(keyword)
    return [] if value is None else list(value) if isinstance(value, MultiValue) else [value]


def _drop_overlays_of_frames(derived: Dataset) -> None:
    """Take out overlays (groups 60xx) that have a plane for each of the frames that are gone."""
    tags = list(derived.keys())
    for group in {tag.group for tag in tags if tag.group >> 8 == 0x60}:
        count = derived.get((group, 0x0015))  # Number of Frames in Overlay.
        if count is not None and int(count.value or 1) > 1:
            for tag in [tag for tag in tags if tag.group == group]:
                del derived[tag]
