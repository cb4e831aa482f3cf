# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare cases with each other: copies, and cases that differ from the others in a way that is easily a mistake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Final

from monai_advenc.data.checking.checked_case import CheckedCase
from monai_advenc.data.volumes.layouts.source import Fault

UNUSUAL_SPACING: Final = 2.0
"""Ratio to the median spacing of all cases from which a case is reported."""

TINY_TUMOR: Final = 9
"""Pixels of a tumor in its cut up to which it is reported."""

MOSTLY_PADDING: Final = 0.5
"""Share of a slice's side that its volume fills at most, from which on padding is reported."""

SIZE_STEP: Final = 16
"""Sides are proposed in multiples of it, as networks halve them."""

LEAST_TO_COMPARE: Final = 4
"""Cases without which nothing is usual."""


def compare_cases(cases: Sequence[CheckedCase], *, labels_are_chosen: bool) -> Iterator[Fault]:
    """Say what is worth a look before the work; none of it stops the work.

    Args:
        cases: All cases.
        labels_are_chosen: Whether values of masks were chosen, so that others do not matter.
    """
    usable = [case for case in cases if case.problem is None]
    yield from _copies(cases, 0, "the image has the voxels of")
    yield from _copies(cases, 1, "the mask has the voxels of the mask of")
    yield from _odd_ones(usable, lambda case: case.plane, "is cut in the {} plane, most others in the {} plane")
    yield from _odd_ones(usable, lambda case: case.kind, "is {}, most others are {}")
    yield from _odd_ones(
        usable, lambda case: case.axes, "is stored with its axes toward {}, most others {}; all are turned upright"
    )
    if not labels_are_chosen:
        yield from _odd_ones(
            usable,
            lambda case: ", ".join(map(str, case.values or ())),
            "has a mask with the values {}, most others {}; --tumor-labels chooses those of the tumor",
        )
    yield from _unusual_spacing(usable)
    counts = Counter(case.label for case in cases)
    for case in cases:
        if case.label and counts[case.label] == 1 and len(cases) >= LEAST_TO_COMPARE:
            yield Fault(case.id, f"is the only case of class {case.label!r}; check the spelling of the class")
    for case in usable:
        if case.pixels is not None and case.pixels <= TINY_TUMOR:
            yield Fault(case.id, f"the tumor has {case.pixels} pixels in its largest slice; look at the mask")
        if case.tumor_kept is not None and case.tumor_kept < 1:
            yield Fault(
                case.id,
                f"the tumor is larger than the slice: {case.tumor_kept:.0%} of it is kept; give a larger --size, or "
                "--fit resize",
            )


def compare_with_size(cases: Sequence[CheckedCase], size: int | None, fit: str) -> Iterator[Fault]:
    """Say if padding would fill most of every slice.

    Args:
        cases: All cases.
        size: Side of the slices to be cut; ``None``: their own.
        fit: How they are brought to it.
    """
    told = mostly_padding(largest_side(cases), size, fit)
    if told is not None:
        yield Fault("", told)


def mostly_padding(largest: int, size: int | None, fit: str) -> str | None:
    """That padding fills most of every slice, in words; ``None`` if it does not.

    Args:
        largest: Longest side in pixels of the slices before padding; 0: unknown.
        size: Side that was asked for; ``None``: their own.
        fit: How slices are brought to it.
    """
    holds = size_that_holds(largest, size, fit)
    if holds is None:
        return None
    return (
        f"slices of {largest} pixels at most are padded to {size}, so most of each is empty and all work takes longer; "
        f"--size {holds} holds all of them"
    )


def size_that_holds(largest: int, size: int | None, fit: str) -> int | None:
    """The side to cut slices to where padding fills most of every slice; ``None`` where it does not.

    Args:
        largest: Longest side in pixels of the slices before padding; 0: unknown.
        size: Side that was asked for; ``None``: their own.
        fit: How slices are brought to it.
    """
    pads = size is not None and fit == "pad-or-crop" and 0 < largest <= MOSTLY_PADDING * size
    return next_multiple(largest) if pads else None


def largest_side(cases: Sequence[CheckedCase]) -> int:
    """Longest side in pixels of the slices before they are brought to a size; 0 if unknown."""
    return max((max(case.side) for case in cases if case.side is not None), default=0)


def next_multiple(pixels: int) -> int:
    """The next multiple of :data:`SIZE_STEP`."""
    return -(-pixels // SIZE_STEP) * SIZE_STEP


def _copies(cases: Sequence[CheckedCase], part: int, what: str) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for case in cases:
        digest = case.digests[part]
        if digest is not None and first.setdefault(digest, case.id) != case.id:
            yield Fault(case.id, f"{what} {first[digest]}; leave one out, or correct the files")


def _odd_ones(cases: Sequence[CheckedCase], of: Callable[[CheckedCase], str | None], message: str) -> Iterator[Fault]:
    """Cases that differ from at least half of the cases, where those agree."""
    counts = Counter(of(case) for case in cases)
    if len(cases) < LEAST_TO_COMPARE or len(counts) < 2:
        return
    usual, count = counts.most_common(1)[0]
    if 2 * count >= len(cases):
        for case in cases:
            if of(case) != usual:
                yield Fault(case.id, message.format(of(case), usual))


def _unusual_spacing(cases: Sequence[CheckedCase]) -> Iterator[Fault]:
    sides = {case.id: max(case.spacing_in_plane) for case in cases if case.spacing_in_plane is not None}
    if len(sides) < LEAST_TO_COMPARE:
        return
    usual = median(sides.values())
    for name, side in sides.items():
        if not 1 / UNUSUAL_SPACING < side / usual < UNUSUAL_SPACING:
            yield Fault(name, f"pixels measure {side:g} mm, and {usual:g} mm in the median of all; check the header")
