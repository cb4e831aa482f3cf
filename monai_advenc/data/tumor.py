# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The one rule for what counts as tumor in a mask, whether a file, a DICOM object or a tensor holds it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_advenc.errors import MaskError

MOST_LABELS: Final = 16
"""Masks of parts of tumors have fewer values, images more."""

MOST_COVERED: Final = 0.95
"""The largest part of a volume that a tumor may fill; an inverted mask fills more."""


def tumor_voxels(
    values: NDArray[Any],
    source: str,
    labels: tuple[int, ...] | None = None,
    image: NDArray[Any] | None = None,
) -> NDArray[np.bool_]:
    """Find the voxels of a mask that count as tumor.

    Nothing is rounded: a mask with fractions or NaN, as interpolation and other software leave them, is refused. Only
    a DICOM segmentation says what its fractions mean, so its reader applies that first.

    Args:
        values: ``(X, Y, Z)``: the mask as read, whole numbers of any type.
        source: Name of the mask, for messages.
        labels: Values that count as tumor; ``None``: all but 0.
        image: ``(X, Y, Z)``: the image, to notice that it was exchanged with its mask. ``None``: not known.

    Returns:
        ``(X, Y, Z)``, bool.

    Raises:
        MaskError: A value is not a whole number, no voxel counts as tumor, nearly all do, or the mask is an image.
    """
    if image is not None and image.shape != values.shape:
        image = None
    if not _are_labels(values):
        hint = " (are image and mask exchanged?)" if image is not None and 2 <= _count(image) <= MOST_LABELS else ""
        raise MaskError(
            f"{source} holds values that are no labels{hint}; expected whole numbers of 32 bits: give the segmentation "
            "as it was drawn, or resample it with nearest neighbors"
        )
    tumor: NDArray[np.bool_] = values != 0 if labels is None else np.isin(values, labels)
    if not tumor.any():
        present = ", ".join(str(int(value)) for value in np.unique(values)[: MOST_LABELS + 1] if value) or "none"
        wanted = "any label" if labels is None else f"label {', '.join(map(str, labels))}"
        raise MaskError(f"the mask {source} is empty: expected {wanted}, it holds {present}; check the mask")
    _require_plausible(values, source, image)
    covered = np.count_nonzero(tumor) / tumor.size
    if covered > MOST_COVERED:
        raise MaskError(
            f"the mask {source} marks {covered:.1%} of its volume as tumor, expected at most {MOST_COVERED:.0%}: give "
            "the mask of the tumor, or choose its label"
        )
    return tumor


def _are_labels(values: NDArray[Any]) -> bool:
    if values.dtype.kind == "b":
        return True
    if values.dtype.kind == "f" and not np.array_equal(np.rint(values), values):
        return False
    largest = np.iinfo(np.int32).max
    return bool(-largest <= values.min(initial=0) and values.max(initial=0) <= largest)


def _require_plausible(values: NDArray[Any], source: str, image: NDArray[Any] | None) -> None:
    """Where image and mask are exchanged, or an image is taken for a mask, its pixels would be shared as the mask."""
    count = _count(values)
    if image is not None and 2 <= _count(image) < count:
        raise MaskError(
            f"{source} has more values than its image: are image and mask exchanged? Give each its own name"
        )
    if count > MOST_LABELS and _varies_like_an_image(values):
        raise MaskError(
            f"{source} is no mask: it has more than {MOST_LABELS} values, and neighbors differ as in an image; give "
            "the segmentation"
        )
    if image is not None and np.array_equal(values, image):
        raise MaskError(f"{source} holds the same values as its image; give the segmentation")


def _count(values: NDArray[Any]) -> int:
    """The number of different values, at most one more than :data:`MOST_LABELS`; faster than sorting them all."""
    rest, count = values.ravel(), 0
    while rest.size and count <= MOST_LABELS:
        rest, count = rest[rest != rest[0]], count + 1
    return count


def _varies_like_an_image(values: NDArray[Any]) -> bool:
    """Whether most neighbors differ, apart from the background; numbered lesions and organs fill areas instead."""
    sample, counts = np.unique(values.ravel()[:: max(1, values.size // 100_000)], return_counts=True)
    shown = (values != 0) & (values != sample[counts.argmax()])
    pairs = differing = 0
    for axis in range(values.ndim):
        numbers, is_shown = np.moveaxis(values, axis, 0), np.moveaxis(shown, axis, 0)
        both = is_shown[1:] & is_shown[:-1]
        pairs += int(np.count_nonzero(both))
        differing += int(np.count_nonzero(both & (numbers[1:] != numbers[:-1])))
    return 2 * differing > pairs
