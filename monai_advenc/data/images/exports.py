# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Ways in which an image leaves an archive: viewers' exports, compression, resizing.

Pure functions on one image; codecs are those of Pillow (libjpeg, OpenJPEG), as most viewers and archives have them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

Export = Callable[[Tensor], Tensor]
"""From an image ``(C, H, W)`` in [0, 1] to what a recipient of the exported file reads, the same shape."""

WINDOW_PERCENTILES = (1.0, 99.0)
"""Window of the window/level export: between these percentiles of the image."""

JPEG_QUALITIES = (95, 90, 75, 50)

JPEG_2000_RATIO = 10
"""Size of the uncompressed 16-bit image over that of the file (8-bit for colors)."""


def as_written(image: Tensor) -> Tensor:
    """The file itself."""
    return image


def to_8_bit(image: Tensor) -> Tensor:
    """The nearest of 256 gray levels."""
    return _to_levels(image, 255)


def window_level(image: Tensor) -> Tensor:
    """What a viewer exports: contrast stretched to a window over most of the image's pixels, then 8 bits."""
    low, high = np.percentile(image.numpy(), WINDOW_PERCENTILES)
    return to_8_bit(((image - low) / max(high - low, 1 / 255)).clamp(0, 1))


def jpeg(quality: int) -> Export:
    """Baseline JPEG of that quality (libjpeg's scale), colors not subsampled."""
    return lambda image: _through_codec(image, 255, "JPEG", quality=quality, subsampling=0)


def jpeg_2000_lossless(image: Tensor) -> Tensor:
    """Reversible JPEG 2000 (DICOM transfer syntax 1.2.840.10008.1.2.4.90)."""
    return _through_codec(image, _deepest_levels(image), "JPEG2000", irreversible=False)


def jpeg_2000_lossy(image: Tensor) -> Tensor:
    """Irreversible JPEG 2000 at a fixed ratio (DICOM transfer syntax 1.2.840.10008.1.2.4.91)."""
    options = {"irreversible": True, "quality_mode": "rates", "quality_layers": [JPEG_2000_RATIO]}
    return _through_codec(image, _deepest_levels(image), "JPEG2000", **options)


def resize_and_back(image: Tensor) -> Tensor:
    """Half as many pixels a side, low-pass filtered, and back (bilinear)."""
    height, width = image.shape[-2:]
    half = (max(1, height // 2), max(1, width // 2))
    small = functional.interpolate(image[None], size=half, mode="bilinear", antialias=True)
    return functional.interpolate(small, size=(height, width), mode="bilinear")[0].clamp(0, 1)


EXPORTS: dict[str, Export] = {
    "as written": as_written,
    "8-bit": to_8_bit,
    "window/level, 8-bit": window_level,
    **{f"JPEG {quality}": jpeg(quality) for quality in JPEG_QUALITIES},
    "JPEG 2000 lossless": jpeg_2000_lossless,
    f"JPEG 2000 {JPEG_2000_RATIO}:1": jpeg_2000_lossy,
    "half size and back": resize_and_back,
}
"""Every export by the name in the table."""


def _to_levels(image: Tensor, levels: int) -> Tensor:
    return ((image.double() * levels).round() / levels).float()


def _deepest_levels(image: Tensor) -> int:
    # Pillow compresses 16-bit gray, but no 16-bit colors.
    return 65535 if len(image) == 1 else 255


def _through_codec(image: Tensor, levels: int, codec: str, **options: Any) -> Tensor:
    dtype = np.uint16 if levels == 65535 else np.uint8
    values = (image.double() * levels).round().numpy().astype(dtype).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(values[:, :, 0] if len(image) == 1 else values).save(buffer, format=codec, **options)
    with Image.open(buffer) as read:
        back = np.asarray(read).astype(np.float64) / levels
    return torch.from_numpy(back.reshape(values.shape).transpose(2, 0, 1)).float()
