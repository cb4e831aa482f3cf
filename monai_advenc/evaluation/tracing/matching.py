# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Find the original of a leaked image by its content: names say nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

from monai_advenc.evaluation.tracing.registration import Image, Placement, coarse_placements, register

MATCHED: Final = 0.9
"""Likeness from which on a leaked image counts as one of an original."""

_SIDE = 16
_CROPS = (0.0, 0.04, 0.08)
"""Shares cut off on each side of originals, to be compared with leaked images that were cropped."""

_CANDIDATES, _REFINED, _CERTAIN = 12, 3, 0.998


@dataclass(frozen=True)
class Match:
    """The original of a leaked image.

    Attributes:
        row: Of the original.
        placement: Where the leaked image lies in it.
    """

    row: int
    placement: Placement


class Thumbnails:
    """Small pictures of all originals, to find the few that a leaked image can be of.

    Args:
        originals: Gray pixels ``(H, W)`` of each.
    """

    def __init__(self, originals: Iterable[Image]) -> None:
        found = [[thumbnail(_cropped(image, cut)) for cut in _CROPS] for image in originals]
        self._pictures: NDArray[np.float64] = np.array(found).reshape(-1, len(_CROPS), _SIDE**2)

    def candidates(self, leaked: Image) -> list[int]:
        """Rows of the originals that a leaked image looks most like, the likeliest first."""
        likeness = (self._pictures @ thumbnail(leaked)).max(axis=1)
        return [int(row) for row in np.argsort(-likeness, kind="stable")[:_CANDIDATES]]


def find_original(leaked: Image, thumbnails: Thumbnails, read: Callable[[int], Image]) -> Match | None:
    """Find the original of a leaked image.

    Args:
        leaked: Gray pixels ``(h, w)``.
        thumbnails: Of all originals.
        read: Reads the original with that row.

    Returns:
        The match; ``None`` if the image is of none of them.
    """
    rows = thumbnails.candidates(leaked)
    first = Match(rows[0], register(read(rows[0]), leaked))
    if first.placement.likeness >= _CERTAIN:
        return first
    if len(rows) > _REFINED:
        coarse = [max((each.likeness for each in coarse_placements(read(row), leaked)), default=-1.0) for row in rows]
        rows = [row for _, row in sorted(zip(coarse, rows, strict=True), reverse=True)][:_REFINED]
    found = [first, *(Match(row, register(read(row), leaked)) for row in rows if row != first.row)]
    best = max(found, key=lambda each: each.placement.likeness)
    return best if best.placement.likeness >= MATCHED else None


def thumbnail(image: Image) -> NDArray[np.float64]:
    """A small picture of mean 0 and length 1; zeros for a constant image."""
    small = resize(image, (_SIDE, _SIDE), order=1, anti_aliasing=True).ravel()
    small = small - small.mean()
    length = float(np.linalg.norm(small))
    found: NDArray[np.float64] = small / length if length > 0 else small
    return found


def _cropped(image: Image, cut: float) -> Image:
    down, across = (int(cut * side) for side in image.shape)
    return image[down : image.shape[0] - down, across : image.shape[1] - across]
