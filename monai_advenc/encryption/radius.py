# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The share of a key's radius that an image gets: by its region, and by its own noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from monai_advenc.encryption.noise import noise_in_body
from monai_advenc.encryption.regions import body, require_region_of_image
from monai_advenc.errors import ImageError
from monai_advenc.perturbation.settings import PerturbationSettings


def radius_shares(
    settings: PerturbationSettings,
    images: Tensor,
    regions: Tensor | None,
    *,
    full_radius: bool = False,
    free: Tensor | None = None,
) -> Tensor | None:
    """The share of the radius for each image.

    All commands, transforms and base networks ask here, so an image gets the same share everywhere. It is computed on
    the CPU, because other processors may round a mean in another way.

    Args:
        settings: Norm, radius and noise.
        images: Originals ``(N, C, H, W)`` in [0, 1].
        regions: Binary masks ``(N, 1, H, W)`` of the pixels that may change; ``None``: all may.
        full_radius: Do not shrink the radius with the region. A multiple of the noise stays a limit.
        free: Masks like ``regions`` of the pixels that really may change, over which the change is compared with the
            noise; ``None``: those of ``regions``. The ends of a DICOM window cost no radius, but never change.

    Returns:
        ``(N,)``, float64, in (0, 1]; ``None``: all of the radius for all images.

    Raises:
        ImageError: The radius depends on the noise, and an image has none.
    """
    shares = None if regions is None or full_radius else radius_scales(regions.cpu(), settings.norm)
    if settings.noise is None:
        return shares
    changing = regions if free is None else free
    by_noise = _shares_of_noise(settings, images.cpu(), None if changing is None else changing.cpu())
    return by_noise.clamp(max=1) if shares is None else torch.minimum(by_noise, shares)


def radius_share(
    settings: PerturbationSettings,
    image: Tensor,
    region: Tensor | None,
    *,
    full_radius: bool = False,
    free: Tensor | None = None,
) -> float | None:
    """The same for one image ``(C, H, W)`` with its masks ``(1, H, W)``."""
    regions, changing = (None if mask is None else mask[None] for mask in (region, free))
    shares = radius_shares(settings, image[None], regions, full_radius=full_radius, free=changing)
    return None if shares is None else float(shares)


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


def _shares_of_noise(settings: PerturbationSettings, images: Tensor, regions: Tensor | None) -> Tensor:
    """The share of the radius with which each free pixel changes by the multiple of the noise, root mean square."""
    _, channels, height, width = images.shape
    refusal = (
        "an image shows no noise, so no multiple of it can be the change; leave the image out, or draw a key without "
        "--noise"
    )
    try:
        noise = torch.tensor([noise_in_body(image) for image in images], dtype=torch.float64)
    except ImageError:  # A constant image has no body.
        raise ImageError(refusal) from None
    if (noise == 0).any():
        raise ImageError(refusal)
    pixels = regions.bool().flatten(1).double().sum(dim=1) if regions is not None else float(height * width)
    lengths = (settings.noise or 0) * noise * (channels * pixels) ** 0.5
    return lengths / settings.at_size(height, width).radius


@dataclass(frozen=True)
class Freedom:
    """Which pixels of any image may change, for a base network that is trained on perturbed images.

    Attributes:
        region: ``"all"`` or ``"body"``, which need nothing but the image.
        perturbation: Norm, radius and noise.
        full_radius: Keep all of the radius, however small the region.
    """

    region: str
    perturbation: PerturbationSettings
    full_radius: bool = False

    def __post_init__(self) -> None:
        require_region_of_image(self.region)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Masks ``(N, 1, H, W)`` of images ``(N, C, H, W)``, and the share of the radius of each, ``(N,)``."""
        chosen = [body(image) if self.region == "body" else torch.ones_like(image[:1]).bool() for image in images]
        regions = torch.stack(chosen)
        return regions, radius_shares(self.perturbation, images, regions, full_radius=self.full_radius)

    def notes(self) -> dict[str, str | bool]:
        """What a network's file says of it; all of the radius for all pixels is no choice."""
        return {"region": self.region, "full_radius": self.full_radius and self.region != "all"}
