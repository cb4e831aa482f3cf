# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Turn stored pixels upright by the orientation tag of EXIF and TIFF."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def upright(pixels: NDArray[np.generic], orientation: object) -> NDArray[np.generic]:
    """Stored pixels ``(H, W)`` or ``(H, W, C)`` as people see them, by the value of the tag.

    The files written carry no such tag, so they must hold what is seen.
    """
    turns: dict[object, NDArray[np.generic]] = {
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels),
    }
    return turns.get(orientation, pixels)
