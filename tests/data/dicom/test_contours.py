from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import numpy as np
from hypothesis import given, settings, strategies as st

from monai_advenc.data.dicom.contours import enclosed_pixels

Point = tuple[Fraction, Fraction]
Outline = tuple[Point, ...]

SHAPE = (8, 7)
"""Columns and rows; contours may reach beyond."""


def edges(outline: Outline) -> list[tuple[Point, Point]]:
    return [(outline[place - 1], outline[place]) for place in range(len(outline))]


def turn(a: Point, b: Point, c: Point) -> Fraction:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def is_between(a: Point, b: Point, c: Point) -> bool:
    """Whether c lies on the edge from a to b, exactly."""
    return turn(a, b, c) == 0 and all(min(a[i], b[i]) <= c[i] <= max(a[i], b[i]) for i in (0, 1))


def is_on(point: Point, outline: Outline) -> bool:
    return any(is_between(a, b, point) for a, b in edges(outline))


def is_within(point: Point, outline: Outline) -> bool:
    """Whether a point lies inside and not on the outline: by crossings of a ray to the right."""
    if is_on(point, outline):
        return False
    crossings = 0
    for a, b in edges(outline):
        low, high = sorted((a, b), key=lambda each: each[1])
        crossings += low[1] <= point[1] < high[1] and turn(low, high, point) > 0
    return crossings % 2 == 1


def do_meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    if is_between(a, b, c) or is_between(a, b, d) or is_between(c, d, a) or is_between(c, d, b):
        return True
    return turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0


@cache
def is_strictly_inside(inner: Outline, outer: Outline) -> bool:
    if any(do_meet(*first, *second) for first in edges(inner) for second in edges(outer)):
        return False
    # A figure of eight may have its crossing within; what counts is that the inner one is enclosed as a whole.
    return all(is_within(corner, outer) for corner in inner)


def depth(outline: Outline, outlines: Sequence[Outline]) -> int:
    around = [outer for outer in set(outlines) if is_strictly_inside(outline, outer)]
    return 1 + max(depth(outer, around) for outer in around) if around else 0


def belongs(point: Point, planar: Sequence[Outline], exclusive: Sequence[Outline]) -> bool:
    """The rule of PS3.3, C.8.8.6.3, for one point."""
    if any(is_on(point, outline) for outline in exclusive):
        return True
    if sum(is_within(point, outline) for outline in exclusive) % 2:
        return True
    for outer in planar:
        if depth(outer, planar) % 2 or not (is_on(point, outer) or is_within(point, outer)):
            continue
        holes = [each for each in planar if depth(each, planar) % 2 and is_strictly_inside(each, outer)]
        if not any(is_within(point, hole) for hole in holes):
            return True
    return False


def rasterized(planar: Sequence[Outline], exclusive: Sequence[Outline] = ()) -> np.ndarray:
    def numbers(outlines: Sequence[Outline]) -> list[np.ndarray]:
        return [np.array(outline, dtype=float) for outline in outlines]

    return enclosed_pixels(numbers(planar), numbers(exclusive), SHAPE)


def expected(planar: Sequence[Outline], exclusive: Sequence[Outline] = ()) -> np.ndarray:
    return np.array(
        [[belongs((Fraction(x), Fraction(y)), planar, exclusive) for y in range(SHAPE[1])] for x in range(SHAPE[0])]
    )


def box(left: int, right: int, top: int, bottom: int, unit: int = 1) -> Outline:
    x0, x1, y0, y1 = (Fraction(each, unit) for each in (left, right, top, bottom))
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


places = st.integers(-2, 17).map(lambda each: Fraction(each, 2))
boxes = st.tuples(*[st.integers(-2, 17)] * 4).map(lambda each: box(*each, unit=2))
shapes = st.one_of(boxes, st.lists(st.tuples(places, places), min_size=3, max_size=5).map(tuple))


@st.composite
def nests(draw: st.DrawFn) -> tuple[Outline, ...]:
    """Boxes one within the other, so that holes and islands are frequent, some given twice."""
    steps = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    rings = [box(-1 + sum(steps[:k]), 15 - sum(steps[:k]), -1 + sum(steps[:k]), 13, 2) for k in range(len(steps) + 1)]
    rings = [
        ring[:2] + tuple((x, min(y, Fraction(13 - sum(steps[:k]), 2))) for x, y in ring[2:])
        for k, ring in enumerate(rings)
    ]
    return tuple(draw(st.permutations([*rings, *draw(st.lists(st.sampled_from(rings), max_size=2))])))


@settings(max_examples=60, deadline=None)
@given(
    planar=st.one_of(
        st.lists(shapes, max_size=4).map(tuple),
        st.tuples(nests(), st.lists(boxes, max_size=1)).map(lambda both: (*both[0], *both[1])),
    )
)
def test_planar_contours_are_joined_and_one_strictly_inside_another_is_a_hole(planar: tuple[Outline, ...]) -> None:
    assert np.array_equal(rasterized(planar), expected(planar))
    assert np.array_equal(rasterized((*planar, *planar)), expected(planar))
    assert np.array_equal(rasterized(tuple(outline[::-1] for outline in planar[::-1])), expected(planar))


@settings(max_examples=40, deadline=None)
@given(planar=st.lists(shapes, max_size=2), exclusive=st.lists(shapes, min_size=1, max_size=4))
def test_exclusive_contours_are_combined_by_exclusive_or(planar: list[Outline], exclusive: list[Outline]) -> None:
    assert np.array_equal(rasterized(planar, exclusive), expected(planar, exclusive))


def test_overlapping_repeated_touching_and_nested_boxes_have_the_pixels_that_one_counts() -> None:
    outer, hole, island = box(1, 6, 0, 6), box(2, 5, 1, 5), box(3, 4, 2, 4)
    assert rasterized([outer]).sum() == rasterized([outer, outer]).sum() == 6 * 7
    assert rasterized([outer, hole]).sum() == 42 - 2 * 3  # The border of the hole belongs to the region.
    assert rasterized([hole, outer, island, hole]).sum() == 42 - 2 * 3 + 2 * 3
    assert rasterized([box(0, 3, 0, 2), box(3, 5, 0, 2)]).sum() == 6 * 3  # No seam at column 3.
    assert rasterized([box(0, 3, 0, 3), box(2, 5, 2, 5)]).sum() == 16 + 16 - 4
    assert rasterized([outer, box(1, 3, 1, 3)]).sum() == 42  # Touching from within is not strictly inside.
    keyhole = (
        *box(1, 6, 0, 6),
        (Fraction(1), Fraction(0)),
        (Fraction(2), Fraction(1)),
        *reversed(box(2, 5, 1, 5)[1:]),
        (Fraction(2), Fraction(1)),
        (Fraction(1), Fraction(0)),
    )
    assert rasterized([keyhole]).sum() == 42 - 2 * 3


def test_contours_of_many_corners_and_many_contours_are_rasterized_in_little_time() -> None:
    angles = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rings = [100 + radius * circle for radius in (90, 60, 30)]
    region = enclosed_pixels(rings, [], (200, 200))
    x, y = np.mgrid[:200, :200] - 100.0
    distance = np.hypot(x, y)
    inside = (distance <= 90) & (distance >= 60) | (distance <= 30)
    near = np.abs(distance[..., None] - [90, 60, 30]).min(axis=-1) < 1e-3
    assert np.array_equal(region | near, inside | near)
