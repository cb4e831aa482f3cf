# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Select the pixels of an image that may change: all (as in the paper), the body, or a mask next to the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy import ndimage
from skimage.filters import threshold_otsu
from torch import Tensor

from monai_advenc.errors import ImageError, MaskError, SettingsError


def whole_image(image: Tensor, mask: Tensor | None) -> Tensor | None:
    """Select every pixel, written as ``None``."""
    return None


def body(image: Tensor, mask: Tensor | None = None) -> Tensor:
    """Select the largest bright object with its holes filled: head or trunk without background.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        mask: Not used.

    Returns:
        Binary mask ``(1, H, W)``.

    Raises:
        ImageError: The image is constant, so it has no body.
    """
    brightness = image.mean(dim=0).numpy()
    if brightness.min() == brightness.max():
        raise ImageError("the image is constant, so it has no body; encrypt with --region all or leave it out")
    # Half of Otsu's threshold, because soft tissue at the rim is darker than the middle between air and bright tissue.
    objects, count = ndimage.label(brightness > threshold_otsu(brightness) / 2)
    largest = objects == 1 + ndimage.sum_labels(objects > 0, objects, range(1, count + 1)).argmax()
    return torch.from_numpy(ndimage.binary_fill_holes(largest))[None]


def given_mask(image: Tensor, mask: Tensor | None) -> Tensor:
    """Select the mask ``(1, H, W)`` next to the image.

    Raises:
        MaskError: There is no mask, it is empty, or it has another grid.
    """
    if mask is None:
        raise MaskError("no mask next to the image; add <id>.mask.png or encrypt with --region all")
    if mask.shape[-2:] != image.shape[-2:]:
        raise MaskError(f"the mask has {tuple(mask.shape[-2:])} pixels, the image {tuple(image.shape[-2:])}; fix one")
    if not mask.any():
        raise MaskError("the mask next to the image is empty; fix it or encrypt with --region all")
    return mask.bool()


def require_region_of_image(region: str) -> None:
    """Raise :class:`SettingsError` unless a region needs nothing but the image, so that a base network can know it."""
    if region not in ("all", "body"):
        raise SettingsError(
            f"expected the region all or body for an error-minimizing key, got {region}, which depends on "
            "masks that its base network does not know"
        )


REGIONS: dict[str, Callable[[Tensor, Tensor | None], Tensor | None]] = {
    "all": whole_image,
    "body": body,
    "mask": given_mask,
}
"""Regions by their names on the command line; each maps an image ``(C, H, W)`` and its mask to the free pixels."""
