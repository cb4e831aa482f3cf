# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""How to train a classifier."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from monai_advenc.acceleration.processor import computes_in_bf16
from monai_advenc.networks.training.augmentation import TrainingAugmentation
from monai_advenc.settings import Settings


class TrainingSettings(Settings):
    """How to train; the defaults suit a few thousand small images on a CPU.

    Attributes:
        epochs: Passes through the training set.
        batch_size: Images per step; an epoch's batches are made nearly equal, so none is left with one image.
        peak_learning_rate: Top of the schedule.
        schedule: ``"one-cycle"``: up and down, for short runs; ``"cosine"``: down from the top.
        momentum: Nesterov momentum.
        weight_decay: L2 penalty, on all weights.
        augmentation: Random shifts and flips; ``None`` for none.
        class_weights: Weight of each class in the loss; ``"balanced"``: as if all classes were equally frequent.
        precision: ``"bf16"`` computes convolutions in half precision, ``"fp32"`` nothing; ``"auto"``: bf16 where the
            device computes in it natively. Weights and optimizer stay float32.
        standardize: Set the network's first layer by the training images; ``False`` keeps what it holds.
        seed: Decides order and augmentation.
    """

    epochs: int = Field(default=12, ge=1)
    batch_size: int = Field(default=64, ge=2)
    peak_learning_rate: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    schedule: Literal["one-cycle", "cosine"] = "one-cycle"
    momentum: float = Field(default=0.9, gt=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    augmentation: TrainingAugmentation | None = TrainingAugmentation()
    class_weights: tuple[float, ...] | Literal["balanced"] | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    standardize: bool = True
    seed: int = Field(default=0, ge=0)

    def in_bf16_on(self, device: torch.device) -> bool:
        """Whether ``precision`` means bf16 there."""
        return self.precision == "bf16" or (self.precision == "auto" and computes_in_bf16(device))
