# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What a leaked image has that its original has not, once export and resizing are accounted for.

A leaked image is explained as well as its original allows: blur, sharpening and what is left of a shift by a filter,
other gray levels by a curve, what is left of a scale by the slopes. The rest is the perturbation with the mark, and
noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from scipy import ndimage

from monai_advenc.evaluation.tracing.registration import Image, Placement

_CURVE_POINTS = 33
_REACH = 3
"""The filter has this many pixels on each side of its middle."""

_ROWS_AT_A_TIME = 128


def residual_of(original: Image, leaked: Image, placement: Placement) -> Image:
    """Compute what the original does not explain of a leaked image.

    Args:
        original: Gray pixels ``(H, W)``.
        leaked: Gray pixels ``(h, w)``.
        placement: Where it lies in the original.

    Returns:
        The rest, on the original's grid ``(H, W)``; 0 where the leaked image shows nothing: outside of it, and at the
        ends of its gray scale, where values may have been cut off.
    """
    blur = [0.4 * max(0.0, by - 1) for by in placement.scale]
    shown = placement.onto(ndimage.gaussian_filter(original, blur), leaked.shape)
    inside = (leaked > leaked.min()) & (leaked < leaked.max())
    if not inside.any():
        return np.zeros_like(original)
    pictures = shown, _through_curve(shown, leaked, inside) - shown
    gram, right = np.zeros((0, 0)), np.zeros(0)
    for rows in _blocks(len(leaked)):
        table, kept = _features(*pictures, rows), inside[rows]
        block = table[:, kept]
        gram = gram + block @ block.T if gram.size else block @ block.T
        right = right + block @ leaked[rows][kept] if right.size else block @ leaked[rows][kept]
    weights = np.linalg.lstsq(gram, right, rcond=1e-10)[0]
    rest = np.zeros_like(leaked)
    for rows in _blocks(len(leaked)):
        rest[rows] = (leaked[rows] - np.tensordot(weights, _features(*pictures, rows), 1)) * inside[rows]
    return placement.back(rest, original.shape)


def _through_curve(shown: Image, leaked: Image, inside: Image) -> Image:
    """The original with the leaked image's gray levels: the mean of those for each of its own."""
    levels = np.unique(np.quantile(shown[inside], np.linspace(0, 1, _CURVE_POINTS)))
    if len(levels) < 3:
        return shown
    place = np.clip(np.searchsorted(levels, shown[inside], side="right") - 1, 0, len(levels) - 2)
    count = np.bincount(place, minlength=len(levels) - 1)
    filled = count > 0
    own, theirs = (np.bincount(place, values[inside], len(count))[filled] / count[filled] for values in (shown, leaked))
    slope = np.polyfit(own, theirs, 1)[0] if len(own) > 1 else 1.0
    # Straight on beyond the outermost means.
    own = np.r_[own[0] - 1, own, own[-1] + 1]
    theirs = np.r_[theirs[0] - slope, theirs, theirs[-1] + slope]
    curved: Image = np.interp(shown, own, theirs)
    return curved


def _blocks(height: int) -> Iterator[slice]:
    yield from (slice(start, min(height, start + _ROWS_AT_A_TIME)) for start in range(0, height, _ROWS_AT_A_TIME))


def _features(image: Image, bend: Image, rows: slice) -> Image:
    """What explains the pixels of some rows, ``(F, rows, W)``: neighbors, the curve of gray levels, stretching."""
    moved, bent = _moved(image, rows, _REACH), _moved(bend, rows, 1)
    side, middle = 2 * _REACH + 1, len(moved) // 2
    down, across = moved[middle + side] - moved[middle - side], moved[middle + 1] - moved[middle - 1]
    height, width = image.shape
    row = (np.arange(rows.start, rows.stop)[:, None] - height / 2) / height
    column = (np.arange(width)[None] - width / 2) / width
    return np.stack([*moved, *bent, np.ones_like(down), row * down, column * across])


def _moved(image: Image, rows: slice, reach: int) -> list[Image]:
    """Some rows of an image moved by up to ``reach`` pixels each way; beyond the border the border is repeated."""
    height, width = image.shape
    window = image[np.clip(np.arange(rows.start - reach, rows.stop + reach), 0, height - 1)]
    window = np.pad(window, [(0, 0), (reach, reach)], mode="edge")
    count, steps = rows.stop - rows.start, range(2 * reach + 1)
    return [window[down : down + count, across : across + width] for down, across in product(steps, steps)]
