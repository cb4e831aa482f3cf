# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Which of the named segments of a mask are the tumor, also where a description of a segment is incomplete."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from monai_advenc.errors import MaskError
from monai_advenc.files.names import matches

_UNKNOWN = Code("261665006", "SCT", "Unknown")


def choose_segments(
    names: Mapping[int, str],
    patterns: tuple[str, ...] | None,
    numbers: tuple[int, ...] | None,
    source: str,
) -> tuple[int, ...]:
    """Numbers of the segments that are asked for.

    Args:
        names: Name of each segment (SEG: Segment Label; RTSTRUCT: ROI Name) by its number.
        patterns: Names, whatever their case; ``*`` stands for any characters, all others for themselves.
            ``None``: not chosen by name.
        numbers: Numbers. ``None``: not chosen by number.
        source: Name of the file, for messages.

    Returns:
        The numbers chosen by name or by number, sorted. Where nothing is asked for, the only segment.

    Raises:
        MaskError: None is chosen, a name or number is not there, or nothing is asked for and there are several: a
            segmentation of organs holds more than the tumor, so that taking all would be a guess.
    """
    present = "; ".join(f"{number} {name!r}" for number, name in sorted(names.items())) or "none"
    if patterns is None and numbers is None:
        if len(names) != 1:
            raise MaskError(
                f"the mask {source} has {len(names)} segments ({present[:300]}): say which are tumor "
                "(--tumor-segment NAME, '*' for all)"
            )
        return tuple(names)
    chosen = set(numbers or ())
    for pattern in patterns or ():
        matching = {number for number, name in names.items() if matches(name, pattern)}
        if not matching:
            raise MaskError(f"the mask {source} has no segment {pattern!r}; it has {present[:300]}")
        chosen |= matching
    absent = ", ".join(str(number) for number in sorted(chosen - set(names)))
    if absent or not chosen:
        raise MaskError(f"the mask {source} has no segment {absent or 'that was asked for'}; it has {present[:300]}")
    return tuple(sorted(chosen))


def fill_unneeded_attributes(segmentation: Dataset) -> None:
    """Set what describes the segments of a DICOM segmentation and is missing, in memory.

    Published segmentations lack such attributes, which highdicom requires. They say nothing about the pixels; a segment
    without a label is called by its number.
    """
    for segment in segmentation.get("SegmentSequence") or ():
        _set_if_missing(segment, "SegmentLabel", f"segment {segment.get('SegmentNumber')}")
        _set_if_missing(segment, "SegmentAlgorithmType", "MANUAL")
        if segment.SegmentAlgorithmType != "MANUAL":
            _set_if_missing(segment, "SegmentAlgorithmName", "unknown")
        for keyword in ("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence"):
            _set_if_missing(segment, keyword, [_code(_UNKNOWN)])


def _set_if_missing(dataset: Dataset, keyword: str, value: object) -> None:
    if not dataset.get(keyword):
        setattr(dataset, keyword, value)


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
