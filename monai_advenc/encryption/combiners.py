# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Combine the perturbed versions of one image into one (section 4.1): concat, mixup, cutmix, random square.

A combiner takes versions ``(N, T, C, H, W)`` (one for each of T targets) and ratios ``(N, R)`` (one row per image,
so that each class can have its own) and returns ``(N, C, H, W)``.

Distance of the result from the original
    Let ``x`` be the original and ``v_i`` its versions, all within radius ``r`` of ``x``. Every combiner here is, pixel
    by pixel, a convex combination of the versions. In L-infinity this keeps the result within ``r``. In L2 it does so
    if all pixels share one set of weights (mixup), because a ball is convex. Taking different pixels from different
    versions (concat, cutmix, random square) can lead to a distance of ``sqrt(T) * r`` in the worst case, in which each
    version spent its whole budget on the pixels that are kept. Therefore :func:`combine` projects the result back onto
    the ball. The projection moves along the segment toward ``x``, so the result also stays in [0, 1]. In practice
    perturbations are spread out and the projection changes little or nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field, model_validator
from torch import Tensor

from monai_advenc.acceleration.processor import require_beside, to_device
from monai_advenc.encryption.paper import CONCAT_SHARES, MIXUP_AND_CONCAT_RATIOS
from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.geometry import GEOMETRIES, Radius
from monai_advenc.settings import Settings


def basic(versions: Tensor, ratios: Tensor, seeds: Sequence[int]) -> Tensor:
    """Return the only version: basic encryption, one target per class (section 3.1)."""
    return versions[:, 0]


def horizontal_concat(versions: Tensor, ratios: Tensor, seeds: Sequence[int]) -> Tensor:
    """Take, from left to right, the share ``ratios[n, i]`` of the columns from version i (section 4.2.1)."""
    return _take_versions(versions, _column_choice(ratios, versions.shape[-1])[:, None, :])


def mixup(versions: Tensor, ratios: Tensor, seeds: Sequence[int]) -> Tensor:
    """Average the versions, weighted by ``ratios`` (section 4.1; Zhang et al. 2017)."""
    return (versions * ratios[:, :, None, None, None]).sum(dim=1)


def mixup_and_concat(versions: Tensor, ratios: Tensor, seeds: Sequence[int]) -> Tensor:
    """Put a mix of versions 1 and 2 left and a mix of versions 3 and 4 right (section 4.2.2).

    ``ratios`` are the weight of version 1 (version 2 gets the rest), the weight of version 3, and the left share.
    """
    first, second, left_share = ratios.unbind(dim=1)
    left = mixup(versions[:, :2], torch.stack([first, 1 - first], dim=1), seeds)
    right = mixup(versions[:, 2:], torch.stack([second, 1 - second], dim=1), seeds)
    return horizontal_concat(torch.stack([left, right], dim=1), torch.stack([left_share, 1 - left_share], dim=1), seeds)


def cutmix(versions: Tensor, ratios: Tensor, seeds: Sequence[int]) -> Tensor:
    """Paste a rectangle of version 2 into version 1: share ``ratios[n, 0]`` of the area, the image's proportions.

    The image's seed decides the position, always inside the image (after CutMix, Yun et al. 2019).
    """
    height, width = versions.shape[-2:]
    sides = [(round(height * math.sqrt(share)), round(width * math.sqrt(share))) for share in ratios[:, 0].tolist()]
    return _paste(versions, sides, seeds)


def random_square(versions: Tensor, ratios: Tensor, seeds: Sequence[int]) -> Tensor:
    """Paste a square of version 2 into version 1: share ``ratios[n, 0]`` of the area.

    The image's seed decides the position, always inside the image (after Summers and Dinneen 2019).
    """
    height, width = versions.shape[-2:]
    sides = [min(round(math.sqrt(share * height * width)), height, width) for share in ratios[:, 0].tolist()]
    return _paste(versions, [(side, side) for side in sides], seeds)


def _column_choice(shares: Tensor, width: int) -> Tensor:
    """Number of the version of each column ``(N, W)``, given the versions' shares ``(N, T)``."""
    ends = (shares.double().cumsum(dim=1)[:, :-1] * width).round()
    return (torch.arange(width, device=shares.device)[None, None, :] >= ends[:, :, None]).sum(dim=1)


def _paste(versions: Tensor, sides: Sequence[tuple[int, int]], seeds: Sequence[int]) -> Tensor:
    """Take a rectangle of each image's sides from version 2, all else from version 1."""
    height, width = versions.shape[-2:]
    choice = torch.zeros(len(sides), height, width, dtype=torch.int64)
    for image, ((tall, wide), seed) in enumerate(zip(sides, seeds, strict=True)):
        generator = torch.Generator().manual_seed(seed)
        top = int(torch.randint(height - tall + 1, (), generator=generator))
        left = int(torch.randint(width - wide + 1, (), generator=generator))
        choice[image, top : top + tall, left : left + wide] = 1
    return _take_versions(versions, to_device(choice, versions.device))


def _take_versions(versions: Tensor, choice: Tensor) -> Tensor:
    """Take each pixel from the version given by ``choice`` (broadcast to ``(N, H, W)``)."""
    count, _, channels, height, width = versions.shape
    index = choice.expand(count, height, width)[:, None, None].expand(count, 1, channels, height, width)
    return versions.gather(1, index)[:, 0]


@dataclass(frozen=True)
class Combiner:
    """A method of combining.

    Attributes:
        join: Maps versions ``(N, T, C, H, W)``, ratios ``(N, R)`` and one seed per image to ``(N, C, H, W)``.
        num_targets: Required number of targets of a class; ``None``: any number from two.
        default_ratios: Ratios of a class for a number of targets.
        shares: Whether a class's ratios are one share per target with sum one (otherwise independent shares).
    """

    join: Callable[[Tensor, Tensor, Sequence[int]], Tensor]
    num_targets: int | None
    default_ratios: Callable[[int], tuple[float, ...]]
    shares: bool = False


def _equal_shares(num_targets: int) -> tuple[float, ...]:
    return CONCAT_SHARES if num_targets == len(CONCAT_SHARES) else (1 / num_targets,) * num_targets


COMBINERS: dict[str, Combiner] = {
    "basic": Combiner(basic, 1, lambda _: ()),
    "horizontal-concat": Combiner(horizontal_concat, None, _equal_shares, shares=True),
    "mixup": Combiner(mixup, None, _equal_shares, shares=True),
    "mixup-and-concat": Combiner(mixup_and_concat, 4, lambda _: MIXUP_AND_CONCAT_RATIOS),
    "cutmix": Combiner(cutmix, 2, lambda _: (0.5,)),
    "random-square": Combiner(random_square, 2, lambda _: (0.5,)),
}
"""All combiners by their names in keys and on the command line."""


class CombinerSettings(Settings):
    """The combiner and its ratios for each class. They are part of the secret, so ``repr`` hides them.

    Attributes:
        name: A name in :data:`COMBINERS`.
        ratios: One row per class; the meaning of its values depends on the combiner.
    """

    name: str = Field(repr=False)
    ratios: tuple[tuple[float, ...], ...] = Field(repr=False)

    @model_validator(mode="after")
    def _ratios_fit_the_combiner(self) -> CombinerSettings:
        combiner = choose_combiner(self.name)
        if len({len(row) for row in self.ratios}) != 1:
            raise ValueError("expected ratios for each class, the same number for all of them")
        for row in self.ratios:
            if not all(0 <= ratio <= 1 for ratio in row):
                raise ValueError("each ratio must lie between 0 and 1")
            if combiner.shares and (len(row) < 2 or abs(sum(row) - 1) > 1e-6):
                raise ValueError("this combiner needs one share for each of two or more targets, summing to 1")
            if not combiner.shares and len(row) != len(combiner.default_ratios(combiner.num_targets or 2)):
                raise ValueError("the number of ratios for each class does not fit this combiner")
        return self

    @classmethod
    def default(cls, name: str, num_classes: int, num_targets: int | None = None) -> CombinerSettings:
        """Use the paper's ratios, or an even split if the paper gives none, for every class."""
        combiner = choose_combiner(name)
        targets = combiner.num_targets or num_targets or 2
        return cls(name=name, ratios=(combiner.default_ratios(targets),) * num_classes)

    @property
    def num_targets(self) -> int:
        """Required number of targets of each class."""
        combiner = choose_combiner(self.name)
        return combiner.num_targets or len(self.ratios[0])


def choose_combiner(name: str) -> Combiner:
    """Return the combiner with this name; otherwise raise a :class:`SettingsError` that lists all names."""
    try:
        return COMBINERS[name]
    except KeyError:
        raise SettingsError(f"unknown combiner {name!r}; choose one of {', '.join(COMBINERS)}") from None


def combine(
    settings: CombinerSettings,
    images: Tensor,
    versions: Tensor,
    labels: Tensor,
    *,
    radius: Radius,
    norm: str = "l2",
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """Combine the versions of each image and keep the result within the radius (for the reason see the module).

    Args:
        settings: Combiner and the ratios of each class.
        images: Originals ``(N, C, H, W)`` in [0, 1].
        versions: Perturbed versions ``(N, T, C, H, W)``, each within ``radius`` of its original.
        labels: True classes ``(N,)``, int64; they select the row of ratios for each image.
        radius: Radius of the ball, for this image size; one for all images, or ``(N,)``.
        norm: Norm of the ball, ``"l2"`` or ``"linf"``.
        seeds: One seed per image, for combiners with random positions; zeros if not given.

    Returns:
        Combined images ``(N, C, H, W)`` in [0, 1], no farther than ``radius`` from ``images``.

    Raises:
        SettingsError: The number of versions does not fit the combiner, or they are not on the images' device.
    """
    if versions.ndim != 5 or versions.shape[1] != settings.num_targets:
        # The message must not name the combiner or the number of targets, because both belong to the key.
        raise SettingsError(
            f"expected one version for each target of the key, (N, T, C, H, W), got {tuple(versions.shape)}; "
            "perturb and combine with the same key"
        )
    require_beside("the images", images, {"versions": versions, "labels": labels})
    ratios = to_device(torch.tensor(settings.ratios, dtype=torch.float32), images.device)[labels]
    # Clamped, because the weights of a mix sum to one only up to rounding.
    joined = choose_combiner(settings.name).join(versions, ratios, seeds or [0] * len(images)).clamp(0, 1)
    change = joined - images
    within = GEOMETRIES[norm].length(change) <= radius
    projected = (images + GEOMETRIES[norm].project(change, radius)).clamp(0, 1)
    # Images that are inside already keep every bit.
    return torch.where(within[:, None, None, None], joined, projected)
