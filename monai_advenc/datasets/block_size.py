# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""How many images are read, encrypted and written together. The bytes of the files do not depend on it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from monai_advenc.key import EncryptionKey

ADAPTIVE_BATCHES, ADAPTIVE_BYTES = 16, 128 * 2**20
"""Batches of versions that adaptive steps have together at most, to fill up one that images have left with others; and
bytes of their pixels: they are in memory several times over."""


def images_per_block(key: EncryptionKey, batch_size: int, image_shape: Sequence[int] | None) -> int:
    """So many images that their versions fill one batch, and several with adaptive steps.

    Args:
        key: Tells the number of targets and the schedule of the steps.
        batch_size: Versions per pass.
        image_shape: Of the images; ``None``: unknown, as where the first one cannot be read.
    """
    versions = batch_size
    if key.perturbation.schedule == "adaptive" and image_shape is not None:
        versions = max(versions, min(ADAPTIVE_BATCHES * batch_size, ADAPTIVE_BYTES // (4 * math.prod(image_shape))))
    return max(1, versions // key.correspondence.num_targets)
