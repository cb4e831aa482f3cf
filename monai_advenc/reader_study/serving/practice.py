# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Practice cases: drawn pictures of no patient and no study, on which readers try keys and gestures."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

PRACTICE_CASES: Final = 2
PRACTICE_SIDE: Final = 256


@cache
def practice_image(index: int) -> bytes:
    """A practice case as the page reads images: (side, side, 1) unsigned 16-bit integers, little-endian.

    A gray disk with a bright spot, which is not in the same place in both.

    Args:
        index: 0 or 1.
    """
    rows, columns = (np.mgrid[:PRACTICE_SIDE, :PRACTICE_SIDE] - (PRACTICE_SIDE - 1) / 2) / (PRACTICE_SIDE / 2)
    grain = np.random.default_rng(index).normal(0, 0.02, rows.shape)
    body = np.hypot(rows, columns * 1.2) < 0.85
    spot = np.hypot(rows + (0.3, -0.25)[index], columns - (0.25, -0.3)[index]) < 0.14
    pixels = np.where(body, 0.35 + 0.1 * np.cos(6 * rows) + grain, 0.0) + 0.25 * spot
    content: bytes = np.rint(pixels.clip(0, 1) * 65535).astype("<u2").tobytes()
    return content
