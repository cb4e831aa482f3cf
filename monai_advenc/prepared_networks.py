# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks made ready for PGD, kept from one batch of images to the next."""

from __future__ import annotations

from torch import nn

from monai_advenc.acceleration import Precision, PreparedNetwork, prepare


class PreparedNetworks:
    """Networks prepared for images of several shapes, each once, and again when its weights or its device change."""

    def __init__(self, precision: Precision = "auto", steps: int | None = None) -> None:
        self.precision: Precision = precision
        self.steps = steps
        self._kept: dict[tuple[int, ...], tuple[object, PreparedNetwork]] = {}

    def get(self, network: nn.Module, image_shape: tuple[int, ...]) -> PreparedNetwork:
        """``network`` made ready for images ``(C, H, W)``; see :func:`prepare`."""
        values = (*network.parameters(), *network.buffers())
        state = (network, [(id(value), value._version, value.device) for value in values])
        if image_shape not in self._kept or self._kept[image_shape][0] != state:
            channels, height, width = image_shape
            shape = (channels, height, width)
            self._kept[image_shape] = (state, prepare(network, shape, precision=self.precision, steps=self.steps))
        return self._kept[image_shape][1]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": {}}  # Made again where it is needed; not worth sending to workers.
