# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Select the pixels of an image that may change: all (as in the paper), the body, or a mask next to the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


def radius_scales(regions: Tensor, norm: str) -> Tensor:
    """The share of the radius for each region, so that its pixels change as much as those of a whole image.

    An L2 radius belongs to a number of pixels: with all of it on a few, each moves far. The root mean square change of
    the pixels that may change stays the same if the radius shrinks with the root of their share. An L-infinity radius
    holds for each pixel.

    Args:
        regions: Binary masks ``(N, 1, H, W)`` of the pixels that may change.
        norm: Norm of the ball.

    Returns:
        ``(N,)``, float64, in [0, 1].
    """
    shares = regions.bool().flatten(1).double().mean(dim=1)
    return shares.sqrt() if norm == "l2" else torch.ones_like(shares)


@dataclass(frozen=True)
class Freedom:
    """Which pixels of any image may change, for a base network that is trained on perturbed images.

    Attributes:
        region: ``"all"`` or ``"body"``, which need nothing but the image.
        norm: Norm of the ball.
        full_radius: Keep all of the radius, however small the region.
    """

    region: str
    norm: str
    full_radius: bool = False

    def __post_init__(self) -> None:
        if self.region not in ("all", "body"):
            raise SettingsError(
                f"expected the region all or body for an error-minimizing key, got {self.region}, which depends on "
                "masks that its base network does not know"
            )

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Masks ``(N, 1, H, W)`` of images ``(N, C, H, W)``, and the share of the radius of each, ``(N,)``."""
        chosen = [body(image) if self.region == "body" else torch.ones_like(image[:1]).bool() for image in images]
        regions = torch.stack(chosen)
        return regions, None if self.full_radius else radius_scales(regions, self.norm)

    def notes(self) -> dict[str, str | bool]:
        """What a network's file says of it; all of the radius for all pixels is no choice."""
        return {"region": self.region, "full_radius": self.full_radius and self.region != "all"}


REGIONS: dict[str, Callable[[Tensor, Tensor | None], Tensor | None]] = {
    "all": whole_image,
    "body": body,
    "mask": given_mask,
}
"""Regions by their names on the command line; each maps an image ``(C, H, W)`` and its mask to the free pixels."""
