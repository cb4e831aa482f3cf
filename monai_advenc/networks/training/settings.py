# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Settings for training a classifier."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field

from monai_advenc.acceleration.processor import computes_in_bf16
from monai_advenc.networks.training.augmentation import TrainingAugmentation
from monai_advenc.settings import Settings

_LEAST_STEPS, _FEW_IMAGES, _SMALL_BATCH = 250, 500, 16


class TrainingSettings(Settings):
    """Training settings; the defaults suit a few thousand small images on a CPU.

    Attributes:
        epochs: Passes through the training set.
        batch_size: Images per step; the batches of an epoch have nearly equal sizes, so that none has a single image.
        peak_learning_rate: Largest learning rate of the schedule, above 0.
        schedule: ``"one-cycle"``: up and down, for short runs; ``"cosine"``: down from the top.
        momentum: Nesterov momentum, between 0 and 1.
        weight_decay: L2 penalty on all weights, from 0 up.
        augmentation: Random shifts and flips; ``None`` for none.
        class_weights: Weight of each class in the loss, from 0 up, not all 0; ``"balanced"``: as if all classes were
            equally frequent.
        precision: ``"bf16"`` computes convolutions in bf16, ``"fp32"`` everything in float32; ``"auto"``: bf16 if the
            device supports it natively. Weights and optimizer stay float32.
        standardize: Whether to set the network's first layer from the training images.
        seed: Seed of order and augmentation.

    Raises:
        SettingsError: A value is unknown or out of its range.

    Example:
        >>> from monai_advenc import TrainingSettings, train_base
        >>> settings = TrainingSettings(epochs=1, class_weights="balanced")
        >>> train_base("slices", "balanced.pt", network="shallow", settings=settings).best_epoch
        1
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

    def enough_for(self, images: int) -> TrainingSettings:
        """These settings with epochs and batch size for so many training images, unless either was set.

        Few images get batches of 16, and at least 250 steps: a network that has made fewer has learned little.

        Args:
            images: Number of training images.
        """
        if {"epochs", "batch_size"} & self.model_fields_set:
            return self
        batch_size = _SMALL_BATCH if images < _FEW_IMAGES else self.batch_size
        epochs = max(self.epochs, math.ceil(_LEAST_STEPS / math.ceil(images / batch_size)))
        return self.model_copy(update={"epochs": epochs, "batch_size": batch_size})

    def in_bf16_on(self, device: torch.device) -> bool:
        """Whether ``precision`` means bf16 on a device.

        Args:
            device: Where the network is trained.
        """
        return self.precision == "bf16" or (self.precision == "auto" and computes_in_bf16(device))
