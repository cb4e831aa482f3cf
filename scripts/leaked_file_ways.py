# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The ways in which files change between an owner and a leak, as they are measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from skimage.transform import resize
from torch import Tensor

from monai_advenc.data.images.exports import jpeg, to_8_bit, window_level


def _resized(image: Tensor, share: float) -> Tensor:
    sides = [round(side * share) for side in image.shape[1:]]
    return torch.from_numpy(resize(image[0].double().numpy(), sides, order=1, anti_aliasing=True)).float()[None]


def _cropped(image: Tensor, draw: np.random.Generator) -> Tensor:
    """Without 5 % of each side, at a random place."""
    cuts = [side - round(0.95 * side) for side in image.shape[1:]]
    down, across = (int(draw.integers(cut + 1)) for cut in cuts)
    height, width = (side - cut for side, cut in zip(image.shape[1:], cuts, strict=True))
    return image[:, down : down + height, across : across + width]


def _back(image: Tensor, side: int) -> Tensor:
    return _resized(image, side / image.shape[1])


Way = Callable[[Tensor, np.random.Generator], Tensor]
WAYS: dict[str, Way] = {
    "as written (16 bits)": lambda image, _: image,
    "8-bit export": lambda image, _: to_8_bit(image),
    "JPEG 75": lambda image, _: jpeg(75)(image),
    "resized to 0.75": lambda image, _: to_8_bit(_resized(image, 0.75)),
    "resized to 0.75 and back": lambda image, _: to_8_bit(_back(_resized(image, 0.75), image.shape[1])),
    "cropped by 5 %": lambda image, draw: to_8_bit(_cropped(image, draw)),
    "cropped by 5 %, resized back": lambda image, draw: to_8_bit(_back(_cropped(image, draw), image.shape[1])),
    "window between percentiles 1 and 99": lambda image, _: window_level(image),
}
TOGETHER = {"average of two": 2, "average of three": 3, "average of two, then JPEG 75": 2}
