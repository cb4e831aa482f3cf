# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train on a GPU in the precision that ``monai-advenc train-base`` takes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor

from monai_advenc.acceleration.processor import computes_in_bf16


class MixedPrecisionInferer(SimpleInferer):
    """Call the network in bf16 on a GPU that has bf16, in float32 elsewhere; logits are float32.

    MONAI's ``amp`` takes float16, whose narrow range needs a gradient scaler, which waits for the GPU in each step.
    """

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Compute.

        Args:
            inputs: Images ``(N, C, H, W)``.
            network: The network.
            args: For the network.
            kwargs: For the network.

        Returns:
            Logits ``(N, K)``, float32.
        """
        place = inputs.device
        with torch.autocast(place.type, torch.bfloat16, enabled=place.type != "cpu" and computes_in_bf16(place)):
            logits: Tensor = super().__call__(inputs, network, *args, **kwargs)
        return logits.float()
