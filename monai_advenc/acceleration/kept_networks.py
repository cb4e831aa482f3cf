# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks made ready for PGD, kept from one batch of images to the next."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress

from torch import nn

from monai_advenc.acceleration.graphs import ONE_AT_A_TIME
from monai_advenc.acceleration.prepare import Precision, PreparedNetwork, prepare, require_precision

MOST_SHAPES = 4
"""Networks for more shapes of images are not kept: in two precisions and with packed weights, one may take half a GiB.
To prepare it again takes as long as some six steps of a batch."""


class PreparedNetworks:
    """A network prepared for images of several shapes, and again when its weights or its device change.

    What was prepared for the last :data:`MOST_SHAPES` shapes is kept.
    """

    def __init__(self, precision: Precision = "auto", steps: int | None = None) -> None:
        self.precision: Precision = require_precision(precision)
        self.steps = steps
        self._kept: dict[tuple[int, ...], tuple[object, PreparedNetwork]] = {}

    def get(self, network: nn.Module, image_shape: tuple[int, ...]) -> PreparedNetwork:
        """``network`` made ready for images ``(C, H, W)``; see :func:`prepare`. Threads may share it."""
        values = (*network.parameters(), *network.buffers())
        state = (network, [(id(value), value._version, value.device) for value in values])
        kept = self._kept.get(image_shape)
        if kept is None or kept[0] != state:
            with ONE_AT_A_TIME:
                return self._prepare(network, image_shape, state)
        return kept[1]

    def _prepare(self, network: nn.Module, image_shape: tuple[int, ...], state: object) -> PreparedNetwork:
        kept = self._kept.get(image_shape)
        if kept is None or kept[0] != state:  # Not by another thread while this one waited.
            channels, height, width = image_shape
            shape = (channels, height, width)
            kept = (state, prepare(network, shape, precision=self.precision, steps=self.steps))
            self._kept[image_shape] = kept
            for oldest in list(self._kept)[:-MOST_SHAPES]:
                del self._kept[oldest]
            _give_back_memory()
        return kept[1]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": {}}  # Made again where it is needed; not worth sending to workers.


def _give_back_memory() -> None:
    """Give the system what preparing needed, and what is forgotten: of a ResNet-18, some 300 MiB each.

    A traced network and its graph hold each other, and Python does not know how large they are. glibc would keep what
    they leave in holes between what stays; of twelve sizes of images these grow to 1.3 GiB.
    """
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # Other C libraries have no such function.
            ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
