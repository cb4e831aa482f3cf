# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A faint pattern in each recipient's images by which a leaked copy can be traced to the recipient's key.

The mark of an image is a sum of cosine waves with wavelengths of 5 to 20 pixels, which survive JPEG and resizing. Their
signs are drawn from the key's layout secret and the image, so nobody without the key can tell them. The mark is
stronger where the image has structure, and takes a small share of the ball of the perturbation.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import idctn
from torch import Tensor

from monai_advenc.perturbation.geometry import GEOMETRIES, Radius

SHARE: Final = 0.2
"""Length of the mark as a share of the radius. What it leaves to the perturbation is 0.98 of the radius."""

_BAND = (1 / 20, 1 / 5)
"""Frequencies of the waves, in cycles per pixel."""

_MOST_CARRIERS = 8192

_DEPTH = 2**16 - 1
"""Images are the same image if they are at 16 bits: a file format does not make another one."""

_NEIGHBORHOOD, _FAINT, _STRONG = 2.0, 0.5 / 255, 8 / 255
"""Standard deviation in pixels of the neighborhood whose contrast counts; contrasts of flat and of structured places on
the [0, 1] scale."""


def content_of(image: Tensor) -> bytes:
    """Compute a digest of the pixels of an image ``(C, H, W)`` in [0, 1], at 16 bits."""
    pixels = (image.detach().cpu().double() * _DEPTH).round().to(torch.int32)
    return hashlib.sha256(repr(tuple(image.shape)).encode() + pixels.numpy().tobytes()).digest()


@lru_cache(maxsize=8)
def carriers(height: int, width: int) -> NDArray[np.int64]:
    """Choose the waves of a mark: flat indices into the cosine transform (DCT-II) of ``(height, width)`` pixels."""
    rows, columns = np.arange(height)[:, None] / (2 * height), np.arange(width)[None] / (2 * width)
    frequency = np.hypot(rows, columns)
    found = np.flatnonzero((frequency >= _BAND[0]) & (frequency < _BAND[1]))
    # Evenly spread, so that large images do not take more time to trace.
    chosen = np.unique(np.linspace(0, len(found) - 1, min(len(found), _MOST_CARRIERS)).round().astype(np.int64))
    chosen = found[chosen]
    chosen.setflags(write=False)
    return chosen


def sign_bytes(seed: bytes, count: int) -> bytes:
    """Draw ``count`` signs, one a bit, the first in the highest bit of the first byte; 1 is plus."""
    return hashlib.shake_128(seed).digest(-(-count // 8))


def signs(seed: bytes, count: int) -> NDArray[np.float64]:
    """The same signs as numbers, -1 and 1."""
    bits = np.unpackbits(np.frombuffer(sign_bytes(seed, count), np.uint8), count=count)
    return 2 * bits.astype(np.float64) - 1


def strengths(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """How strong a mark is at each pixel ``(H, W)``, in (0, 1): by the contrast of its neighborhood."""
    mean = ndimage.gaussian_filter(image, _NEIGHBORHOOD)
    variance = ndimage.gaussian_filter(image**2, _NEIGHBORHOOD) - mean**2
    contrast = np.sqrt(variance.clip(0))
    shares: NDArray[np.float64] = (contrast + _FAINT) / (contrast + _STRONG)
    return shares


def draw_mark(image: Tensor, seed: bytes) -> Tensor:
    """Draw the mark of an image.

    Args:
        image: Original ``(C, H, W)`` in [0, 1].
        seed: Secret of key and image, see :meth:`monai_advenc.encryption.key.EncryptionKey.mark_seed`.

    Returns:
        The mark ``(1, H, W)``, float32, of root mean square 1; zeros for an image too small for a wave.
    """
    gray = image.detach().cpu().double().mean(dim=0).numpy()
    places = carriers(*gray.shape)
    waves = np.zeros(gray.size)
    waves[places] = signs(seed, len(places))
    mark = idctn(waves.reshape(gray.shape), norm="ortho") * strengths(gray)
    scale = np.sqrt(np.mean(mark**2))
    return torch.from_numpy(mark / scale if scale > 0 else mark).float()[None]


def add_marks(
    combined: Tensor, images: Tensor, versions: Tensor, seeds: list[bytes], share: float, radius: Radius, norm: str
) -> Tensor:
    """Add its mark to each combined image, inside the ball.

    Args:
        combined: Combined images ``(N, C, H, W)`` in [0, 1].
        images: Originals, the same shape.
        versions: Perturbed versions ``(N, T, C, H, W)``. Pixels that no version changed were not free to change, and
            keep every bit.
        seeds: One for each image.
        share: Length of the mark as a share of the radius.
        radius: Radius of the ball, one for all images or ``(N,)``.
        norm: Norm of the ball.

    Returns:
        Marked images ``(N, C, H, W)`` in [0, 1], no farther than ``radius`` from ``images``.
    """
    free = (versions != images[:, None]).any(dim=1).any(dim=1, keepdim=True)
    marks = torch.stack([draw_mark(image, seed) for image, seed in zip(images, seeds, strict=True)]).to(images)
    marks = marks.expand_as(images) * free
    geometry = GEOMETRIES[norm]
    # Root mean square 1 is of length 1 in the maximum norm, but for the few pixels above it.
    length = geometry.length(marks) if norm == "l2" else marks.new_ones(len(marks))
    wanted = share * (radius.to(marks) if isinstance(radius, Tensor) else radius)
    marks = marks * (wanted / length.clamp_min(torch.finfo(marks.dtype).tiny)).reshape(-1, 1, 1, 1)
    within: Tensor = (images + geometry.project(combined - images + marks, radius)).clamp(0, 1)
    return torch.where(free, within, combined)
