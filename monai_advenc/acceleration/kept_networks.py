# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Cache of networks prepared for PGD, reused from batch to batch."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

from torch import nn

from monai_advenc.acceleration.graphs import ONE_AT_A_TIME
from monai_advenc.acceleration.prepare import Precision, PreparedNetwork, prepare, require_precision
from monai_advenc.acceleration.probe_images import PROBE_ROWS

MOST_SHAPES = 4
"""Maximum number of image shapes in the cache: in two precisions and with packed weights, one network may take half a
GiB. Preparing it again takes as long as about six steps of a batch."""


class PreparedNetworks:
    """Prepares a network for images of several shapes, and again if its weights or its device change.

    It keeps the networks of the last :data:`MOST_SHAPES` shapes.
    """

    def __init__(
        self,
        precision: Precision = "auto",
        steps: int | None = None,
        batch_size: Callable[[Sequence[int]], int] | None = None,
    ) -> None:
        self.precision: Precision = require_precision(precision)
        self.steps, self.batch_size = steps, batch_size
        self._kept: dict[tuple[int, ...], tuple[object, PreparedNetwork]] = {}

    def get(self, network: nn.Module, image_shape: tuple[int, ...]) -> PreparedNetwork:
        """Return ``network`` prepared for images ``(C, H, W)``; see :func:`prepare`. Threads may share it."""
        values = (*network.parameters(), *network.buffers())
        state = (network, [(id(value), value._version, value.device) for value in values])
        kept = self._kept.get(image_shape)
        if kept is None or kept[0] != state:
            with ONE_AT_A_TIME:
                kept = self._kept.get(image_shape)  # Another thread may have prepared it while this one waited.
                if kept is None or kept[0] != state:
                    shape = cast("tuple[int, int, int]", image_shape)
                    kept = (state, self._prepare(network, shape))
                    self._kept[image_shape] = kept
                    for oldest in list(self._kept)[:-MOST_SHAPES]:
                        del self._kept[oldest]
                    _give_back_memory()
        return kept[1]

    def _prepare(self, network: nn.Module, shape: tuple[int, int, int]) -> PreparedNetwork:
        count = PROBE_ROWS if self.batch_size is None else self.batch_size(shape)
        return prepare(network, shape, precision=self.precision, steps=self.steps, batch_size=count)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": {}}  # Workers prepare their own; sending it costs more.


def _give_back_memory() -> None:
    """Return memory to the system after preparing or dropping a network: about 300 MiB each for a ResNet-18.

    A traced network and its graph reference each other, and Python does not know their size. glibc would keep the freed
    memory as fragments between live blocks; with twelve image sizes they grow to 1.3 GiB.
    """
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # Other C libraries lack this function.
            ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
