# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Map intensities to [0, 1] and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_advenc.errors import ImageError

LOW_PERCENTILE, HIGH_PERCENTILE = 0.5, 99.5
"""A few voxels of flow or metal must not squeeze everything else into a narrow range."""


@dataclass(frozen=True)
class IntensityScale:
    """The linear map of intensities ``low`` to ``high`` onto [0, 1].

    Attributes:
        low: Intensity, in the file's own units, that becomes 0 (black); what lies beyond is clipped.
        high: Intensity that becomes 1 (white); what lies beyond is clipped. Less than ``low`` for images that are
            shown inverted.
    """

    low: float
    high: float

    @classmethod
    def robust(cls, intensities: NDArray[Any], source: str, *, inverted: bool = False) -> IntensityScale:
        """The scale from the 0.5th to the 99.5th percentile, or back from there to the 0.5th if ``inverted``.

        Percentiles of one slice, not of its volume: a slice is what is shared and looked at, and its own range uses
        all gray levels. Where nearly all is background and the percentiles coincide, minimum and maximum serve.

        Raises:
            ImageError: NaN, or an empty or constant image, which has no range.
        """
        if not intensities.size:
            raise ImageError(f"{source} holds only padding; expected image content: leave out the case")
        if not np.isfinite(intensities).all():
            raise ImageError(f"{source} holds NaN or infinite intensities; correct or leave out the case")
        low, high = np.percentile(intensities, (LOW_PERCENTILE, HIGH_PERCENTILE))
        if low == high:
            low, high = intensities.min(), intensities.max()
        if low == high:
            raise ImageError(
                f"{source} is constant ({low:.6g} everywhere); expected an image with contrast: leave out the case"
            )
        return cls(float(high), float(low)) if inverted else cls(float(low), float(high))

    def to_unit(self, intensities: NDArray[Any]) -> NDArray[np.float32]:
        """Map to [0, 1]; what lies outside the range is clipped."""
        scaled = (intensities.astype(np.float64) - self.low) / (self.high - self.low)
        return np.clip(scaled, 0, 1).astype(np.float32)

    def from_unit(self, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """Map [0, 1] back to intensities: the inverse of :meth:`to_unit` for everything that was not clipped."""
        return pixels.astype(np.float64) * (self.high - self.low) + self.low
