# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Which pixels of an image may change: all of them (the paper), the body, or a mask that lies beside the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy import ndimage
from skimage.filters import threshold_otsu
from torch import Tensor

from monai_advenc.errors import ImageError, MaskError


def whole_image(image: Tensor, mask: Tensor | None) -> Tensor | None:
    """Every pixel may change; ``None`` stands for all."""
    return None


def body(image: Tensor, mask: Tensor | None) -> Tensor | None:
    """The largest bright object with its holes filled: head or trunk, without the background around it.

    Args:
        image: ``(C, H, W)`` in [0, 1].
        mask: Not used.

    Returns:
        Binary mask ``(1, H, W)``.

    Raises:
        ImageError: The image is constant: there is no body to find.
    """
    brightness = image.mean(dim=0).numpy()
    if brightness.min() == brightness.max():
        raise ImageError("the image is constant: no body stands out; encrypt with --region all or leave it out")
    # Half of Otsu's threshold: soft tissue at the rim is darker than the middle between air and bright tissue.
    objects, count = ndimage.label(brightness > threshold_otsu(brightness) / 2)
    largest = objects == 1 + ndimage.sum_labels(objects > 0, objects, range(1, count + 1)).argmax()
    return torch.from_numpy(ndimage.binary_fill_holes(largest))[None]


def given_mask(image: Tensor, mask: Tensor | None) -> Tensor | None:
    """The mask ``(1, H, W)`` that lies beside the image.

    Raises:
        MaskError: There is none, it is empty, or it lies on another grid.
    """
    if mask is None:
        raise MaskError("no mask beside the image; add <id>.mask.png or encrypt with --region all")
    if mask.shape[-2:] != image.shape[-2:]:
        raise MaskError(f"the mask is {tuple(mask.shape[-2:])} pixels, the image {tuple(image.shape[-2:])}; mend one")
    if not mask.any():
        raise MaskError("the mask beside the image is empty; mend it or encrypt with --region all")
    return mask.bool()


REGIONS: dict[str, Callable[[Tensor, Tensor | None], Tensor | None]] = {
    "all": whole_image,
    "body": body,
    "mask": given_mask,
}
"""Every region by its name on the command line: from an image ``(C, H, W)`` and its mask to pixels that may change."""
