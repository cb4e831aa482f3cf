# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train and save classifiers: one training function for base networks and victims, on CPU or GPU."""

from __future__ import annotations

from monai_advenc.networks.training.augmentation import TrainingAugmentation
from monai_advenc.networks.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from monai_advenc.networks.training.settings import TrainingSettings
from monai_advenc.networks.training.train import EpochRecord, TrainingResult, accuracy_of, train

__all__ = [
    "Checkpoint",
    "EpochRecord",
    "TrainingAugmentation",
    "TrainingResult",
    "TrainingSettings",
    "accuracy_of",
    "load_checkpoint",
    "save_checkpoint",
    "train",
]
