# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The pixels that contours of one region enclose in one slice (DICOM PS3.3, C.8.8.6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon2mask

Polygon = NDArray[np.float64]
"""Corners ``(N, 2)`` of a contour in (column, row); its last corner is joined to its first."""

ON_CONTOUR = 1e-4
"""How far, in pixels, a point may lie from a contour and still be on it; files round their coordinates."""

EDGES_AT_ONCE = 32
"""Edges that are compared with others at a time, so that contours of many corners need little time and memory."""


def enclosed_pixels(
    planar: Sequence[Polygon], exclusive: Sequence[Polygon], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Rasterize the contours of a region in one slice.

    A pixel belongs to the region if its center does, and points on a contour belong to the region. Contours of type
    CLOSED_PLANAR are joined; one that lies strictly inside another, touching it nowhere, is a hole in it, and one
    strictly inside the hole is an island. Contours of type CLOSEDPLANAR_XOR are combined by exclusive or.

    Args:
        planar: Contours of type CLOSED_PLANAR.
        exclusive: Contours of type CLOSEDPLANAR_XOR.
        shape: Columns and rows of the slice.

    Returns:
        ``(columns, rows)``, bool.
    """
    region = np.zeros(shape, dtype=bool)
    borders = np.zeros(shape, dtype=bool)
    for polygon in exclusive:
        border = _border(polygon, shape)
        region ^= polygon2mask(shape, polygon) & ~border
        borders |= border
    region |= borders
    around = _enclosing(planar)
    depths = _depths(planar, around)
    border_of = [_border(polygon, shape) for polygon in planar]
    inner_of = [polygon2mask(shape, polygon) & ~border for polygon, border in zip(planar, border_of, strict=True)]
    for outer, depth in enumerate(depths):
        if depth % 2 == 0:
            own = inner_of[outer] | border_of[outer]
            for hole in np.flatnonzero(around[:, outer]):
                if depths[hole] % 2:
                    own &= ~inner_of[hole]
            region |= own
    return region


def _enclosing(polygons: Sequence[Polygon]) -> NDArray[np.bool_]:
    """For each pair, whether the first polygon lies strictly inside the second."""
    if not polygons:
        return np.zeros((0, 0), dtype=bool)
    low = np.array([polygon.min(axis=0) for polygon in polygons])
    high = np.array([polygon.max(axis=0) for polygon in polygons])
    found: NDArray[np.bool_] = np.all((low[:, None] > low[None]) & (high[:, None] < high[None]), axis=2)
    for inner, outer in np.argwhere(found):
        first, second = polygons[inner], polygons[outer]
        found[inner, outer] = _is_inside(first[0], second) and not _touch(first, second)
    return found


def _depths(polygons: Sequence[Polygon], around: NDArray[np.bool_]) -> list[int]:
    """For each polygon, how many others lie around each other and around it; copies of one count once."""
    depths = [0] * len(polygons)
    for place in sorted(range(len(polygons)), key=lambda each: -float(np.prod(np.ptp(polygons[each], axis=0)))):
        depths[place] = max((depths[outer] + 1 for outer in np.flatnonzero(around[place])), default=0)
    return depths


def _is_inside(point: Polygon, polygon: Polygon) -> bool:
    """Whether a point that is not on the polygon is inside: a ray from it crosses an odd number of edges."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    crosses = (start[:, 1] > point[1]) != (end[:, 1] > point[1])
    start, end = start[crosses], end[crosses]
    x = start[:, 0] + (point[1] - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
    return bool(np.count_nonzero(x > point[0]) % 2)


def _touch(first: Polygon, second: Polygon) -> bool:
    """Whether two polygons have a point in common."""
    q, q_end = second[None], np.roll(second, -1, axis=0)[None]
    low, high = np.minimum(q, q_end), np.maximum(q, q_end)
    start, end = first[:, None], np.roll(first, -1, axis=0)[:, None]
    for begin in range(0, len(first), EDGES_AT_ONCE):
        a, b = start[begin : begin + EDGES_AT_ONCE], end[begin : begin + EDGES_AT_ONCE]
        # Edges that follow each other are near each other: few of the other polygon's come close.
        first_low, first_high = np.minimum(a, b).min(axis=0), np.maximum(a, b).max(axis=0)
        is_near = ((low <= first_high + ON_CONTOUR) & (high >= first_low - ON_CONTOUR)).all(axis=2)[0]
        c, d = q[:, is_near], q_end[:, is_near]
        if (_distance(a, c, d) <= ON_CONTOUR).any() or (_distance(c, a, b) <= ON_CONTOUR).any():
            return True
        if ((_side(a, b, c) * _side(a, b, d) < 0) & (_side(c, d, a) * _side(c, d, b) < 0)).any():
            return True
    return False


def _side(start: Polygon, end: Polygon, point: Polygon) -> NDArray[np.float64]:
    """On which side of a line a point lies: positive on one, negative on the other."""
    along, to = end - start, point - start
    side: NDArray[np.float64] = along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0]
    return side


def _distance(point: Polygon, start: Polygon, end: Polygon) -> NDArray[np.float64]:
    """The distance of points from edges."""
    along, to = end - start, point - start
    squared = (along**2).sum(axis=-1)
    share = (along * to).sum(axis=-1) / np.where(squared > 0, squared, 1)
    distance: NDArray[np.float64] = np.linalg.norm(to - share.clip(0, 1)[..., None] * along, axis=-1)
    return distance


def _border(polygon: Polygon, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose centers lie on the contour, ``(columns, rows)``."""
    on = np.zeros(shape, dtype=bool)
    edges = np.roll(polygon, -1, axis=0) - polygon
    is_wide = np.abs(edges[:, 0]) >= np.abs(edges[:, 1])
    for axis, chosen in ((0, is_wide), (1, ~is_wide)):
        # An edge crosses each line of pixel centers across its longer direction once; there it must meet a center.
        start, edge, across = polygon[chosen], edges[chosen], 1 - axis
        ends = start[:, axis], start[:, axis] + edge[:, axis]
        first = np.ceil(np.minimum(*ends) - ON_CONTOUR).clip(0, shape[axis]).astype(int)
        last = np.floor(np.maximum(*ends) + ON_CONTOUR).clip(-1, shape[axis] - 1).astype(int)
        counts = np.maximum(last - first + 1, 0)
        which = np.repeat(np.arange(len(start)), counts)
        line = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        length = edge[which, axis]
        share = ((line - start[which, axis]) / np.where(length == 0, 1, length)).clip(0, 1)
        place = start[which, across] + share * edge[which, across]
        nearest = np.rint(place)
        meets = (np.abs(place - nearest) <= ON_CONTOUR) & (nearest >= 0) & (nearest < shape[across])
        pixels = [line[meets], nearest[meets].astype(int)]
        on[tuple(pixels[:: 1 if axis == 0 else -1])] = True
    return on
