# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The statistic for leaked files: how well the change in them correlates with the mark that each key gives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import dctn

from monai_advenc.encryption.keyed_digest import mark_seed
from monai_advenc.encryption.mark import carriers, sign_bytes, strengths
from monai_advenc.evaluation.tracing.registration import Image

_NEIGHBORHOOD, _LEAST_NOISE = 4.0, 0.3 / 255
"""Standard deviation in pixels of the neighborhood over which noise is averaged, and the least noise assumed."""

_BANDS, _LARGEST = 8, 3.0
"""Bands of frequency that are brought to one power, and the largest value that a wave may then have."""


_AT_A_TIME = 256
"""Keys that are scored together."""


@dataclass(frozen=True)
class Evidence:
    """What leaked images of one original say about signs of waves.

    Attributes:
        content: Digest of the original, see :func:`monai_advenc.encryption.mark.content_of`.
        waves: ``(K,)``: for each carrier, how much the leaked change has of it, in units of the noise.
    """

    content: bytes
    waves: NDArray[np.float64]


def waves_of(original: Image, residual: Image) -> NDArray[np.float64]:
    """Compute how much a leaked change has of each carrier of a mark, so that the scores of all keys have variance 1.

    Args:
        original: Gray pixels ``(H, W)``.
        residual: What its leaked image has more, ``(H, W)``.

    Returns:
        ``(K,)`` of length 1; zeros for a residual of zeros.
    """
    # Where there is much noise, a mark is worth less. All of this depends on no key.
    noise = ndimage.gaussian_filter(residual**2, _NEIGHBORHOOD) + _LEAST_NOISE**2
    height, width = original.shape
    places = carriers(height, width)
    waves: NDArray[np.float64] = dctn(residual * strengths(original) / noise, norm="ortho").ravel()[places]
    frequency = np.hypot(places // width / height, places % width / width)
    order = np.argsort(frequency, kind="stable")
    for band in np.array_split(order, _BANDS):
        power = np.sqrt(np.mean(waves[band] ** 2)) if len(band) else 0.0
        waves[band] /= power or 1.0
    waves = waves.clip(-_LARGEST, _LARGEST)
    length = float(np.linalg.norm(waves))
    return waves / length if length > 0 else waves


def scores_of(secrets: Iterable[bytes], evidence: Sequence[Evidence]) -> NDArray[np.float64]:
    """Score layout secrets, of keys and of decoys alike: the sum of the correlations with the marks of all images.

    Args:
        secrets: Layout secrets, 32 bytes each.
        evidence: One for each original.

    Returns:
        One score for each secret: for a key without part in the leak, of mean 0 and variance 1.
    """
    total = np.sqrt(sum(float(np.sum(each.waves**2)) for each in evidence)) or 1.0
    tables = [(each.content, len(each.waves), _sums_of_bytes(each.waves)) for each in evidence]
    remaining, scores = iter(secrets), []
    while block := list(islice(remaining, _AT_A_TIME)):
        scores.append(sum((_scores(block, *table) for table in tables), np.zeros(len(block))))
    return np.concatenate([np.zeros(0), *scores]) / total


def _scores(secrets: Sequence[bytes], content: bytes, count: int, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    drawn = b"".join(sign_bytes(mark_seed(secret, content), count) for secret in secrets)
    signs = np.frombuffer(drawn, np.uint8).reshape(len(secrets), -1)
    found: NDArray[np.float64] = sums[np.arange(len(sums)), signs].sum(axis=1)
    return found


def _sums_of_bytes(waves: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each byte of signs and each of its 256 values, what it adds to the score: ``(bytes, 256)``."""
    padded = np.zeros(-(-len(waves) // 8) * 8)
    padded[: len(waves)] = waves
    signs = 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) - 1
    return padded.reshape(-1, 8) @ signs.T
