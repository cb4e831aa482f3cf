# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A slice in the stored values of its file, so that changed pixels are written back exactly.

The slice's window, from the 0.5th to the 99.5th percentile of what is no padding, becomes [0, 1]. Its ends are values
that occur, and what lies at them or beyond stays as it is, bit for bit; so does padding. The rest moves inside the
window by whole stored units. Therefore the window found in the encrypted file is the one of its original, and both are
read on one scale, which neither file needs to store.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_advenc.data.intensity import HIGH_PERCENTILE, LOW_PERCENTILE
from monai_advenc.errors import ImageError

_FLOAT_SHRINKAGES = 12


@dataclass(frozen=True)
class StoredSlice:
    """One slice as stored.

    Attributes:
        stored: ``(H, W)``: whole numbers, or floats for files that store floats.
        rising: Whether larger stored values are shown brighter (not so for a rescale slope below 0, or MONOCHROME1).
        reserved: First and last stored value that mean padding; such pixels are no image, and none is moved there.
        limits: Smallest and largest value that the file's bits can hold.
        source: Name for messages.
    """

    stored: NDArray[Any]
    source: str
    rising: bool = True
    reserved: tuple[int, int] | None = None
    limits: tuple[int, int] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the file stores whole numbers."""
        return bool(np.issubdtype(self.stored.dtype, np.integer))

    @cached_property
    def _content(self) -> NDArray[np.bool_]:
        content = np.ones(self.stored.shape, dtype=bool)
        if self.reserved is not None:
            content = (self.stored < self.reserved[0]) | (self.stored > self.reserved[1])
        if self.limits is not None:
            content &= (self.stored >= self.limits[0]) & (self.stored <= self.limits[1])
        return content

    @cached_property
    def window(self) -> tuple[float, float]:
        """The smallest and the largest stored value of the window.

        Where nearly all has one value and the percentiles coincide, minimum and maximum serve.

        Raises:
            ImageError: The slice is constant or nearly so, or padding alone.
        """
        values = self.stored[self._content]
        if not values.size:
            raise ImageError(f"{self.source} holds nothing but padding; leave it out")
        low = float(np.percentile(values, LOW_PERCENTILE, method="lower"))
        high = float(np.percentile(values, HIGH_PERCENTILE, method="higher"))
        if low == high:
            common, low, high = low, float(values.min()), float(values.max())
            if low == high or low < common < high:
                # In the latter case a changed neighbor could move the percentiles of the encrypted slice.
                raise ImageError(f"{self.source} is constant or nearly so: there is nothing to see; leave it out")
        if not np.isfinite(high - low):
            raise ImageError(f"{self.source} holds NaN or infinite values; correct or leave it out")
        return low, high

    @property
    def unit(self) -> float | None:
        """One stored unit on the [0, 1] scale; ``None`` where floats are stored."""
        low, high = self.window
        return 1 / (high - low) if self.is_whole else None

    def image(self) -> Tensor:
        """The slice as ``(1, H, W)``, float32 in [0, 1]; what lies outside the window is clipped, padding black."""
        return self.on_same_window(self.stored)

    def on_same_window(self, stored: NDArray[Any]) -> Tensor:
        """Other stored values ``(H, W)`` of the same slice, ``(1, H, W)``, as seen on the window of this one."""
        low, high = self.window
        pixels = ((stored.astype(np.float64) - low) / (high - low)).clip(0, 1)
        pixels = pixels if self.rising else 1 - pixels
        return torch.from_numpy(np.where(self._content, pixels, 0).astype(np.float32))[None]

    def free(self) -> Tensor:
        """Pixels that may change, ``(1, H, W)``, bool: image, and strictly inside the window."""
        low, high = self.window
        return torch.from_numpy(self._content & (self.stored > low) & (self.stored < high))[None]

    def changed(self, encrypted: Tensor, radius: float, norm_length: Any) -> NDArray[Any]:
        """The stored values of an encrypted image.

        Args:
            encrypted: ``(1, H, W)`` in [0, 1], made from :meth:`image` with :meth:`free` as its region and
                :attr:`unit` as its unit.
            radius: Radius of the ball, for floats, which are rounded when they are stored.
            norm_length: From a change ``(1, 1, H, W)`` to its length.

        Returns:
            ``(H, W)``, of the type of :attr:`stored`; untouched where the image did not change.
        """
        low, high = self.window
        sign = 1 if self.rising else -1
        change = sign * (encrypted - self.image())[0].double().numpy() * (high - low)
        change[~self.free()[0].numpy()] = 0
        if not self.is_whole:
            return self._changed_floats(change, radius, norm_length)
        moved = (self.stored.astype(np.int64) + np.rint(change).astype(np.int64)).clip(int(low), int(high))
        if self.reserved is not None:
            first, last = self.reserved
            lost = (moved >= first) & (moved <= last) & self._content
            # Back to the side it came from: shorter than the change that was allowed.
            moved = np.where(lost, np.where(self.stored < first, first - 1, last + 1), moved)
        return np.where(change == 0, self.stored, moved.astype(self.stored.dtype))

    def _changed_floats(self, change: NDArray[np.float64], radius: float, norm_length: Any) -> NDArray[Any]:
        low, high = self.window
        exact = self.stored.astype(np.float64)
        for power in range(-1, _FLOAT_SHRINKAGES):
            share = 1.0 if power < 0 else 1 - 1e-7 * 4**power
            moved = (exact + share * change).clip(low, high).astype(self.stored.dtype)
            moved = np.where(change == 0, self.stored, moved).astype(self.stored.dtype)
            distance = torch.from_numpy((moved.astype(np.float64) - exact) / (high - low))[None, None]
            if float(norm_length(distance)[0]) <= radius:
                break
        return moved
