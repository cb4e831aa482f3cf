# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Sizes of the experiments: the paper's size, a faster variant for a GPU, or a size for two CPU cores."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import Field

from monai_advenc.encryption.paper import CIFAR10_RADIUS, MRI_RADIUS, STEP_SIZE, STEPS
from monai_advenc.errors import SettingsError
from monai_advenc.settings import Settings


class Preset(Settings):
    """The size of every experiment.

    Attributes:
        base: The owner's base network.
        victims: Networks trained on encrypted images in tables 1 and 7, the first also in table 2.
        learner: The attacker's network on encrypted images, M1 of section 3.4.
        simulator: The attacker's network on original images, M2.
        brain_base: Base network of table 12.
        brain_victims: Victims of table 12.
        train_size: Number of training images; ``None``: all.
        test_size: Number of test images.
        brain_size: Side in pixels that the images of table 12 are resized to; the paper's is 320.
        epochs: Passes through the training images, for every network.
        batch_size: Images per training step.
        peak_learning_rate: Top of the one-cycle schedule.
        radius: L2 radius on CIFAR-10.
        step_size: PGD step size on CIFAR-10.
        steps: Number of PGD steps on CIFAR-10 and brain tumors.
        brain_radius: L2 radius on brain tumors, for 320x320 pixels; other sizes get it scaled by their side.
        brain_step_size: PGD step size on brain tumors.
        seeds: Number of seeds, from 0, unless others are given.
        perturbation_batch: Images that are perturbed together.
        adaptation_size: Labeled source images in table 10; ``None``: all training images.
    """

    base: str = "resnet50"
    victims: tuple[str, ...] = ("densenet_bc100", "preresnet110", "vgg19")
    learner: str = "preresnet20"
    simulator: str = "resnet50"
    brain_base: str = "resnet18"
    brain_victims: tuple[str, ...] = ("densenet_bc100", "preresnet110", "preresnet20", "vgg19", "vgg11")
    train_size: int | None = Field(default=None, ge=10)
    test_size: int | None = Field(default=None, ge=10)
    brain_size: int = Field(default=320, ge=16)
    epochs: int = Field(default=200, ge=1)
    batch_size: int = Field(default=128, ge=2)
    peak_learning_rate: float = Field(default=0.1, gt=0)
    radius: float = Field(default=CIFAR10_RADIUS, gt=0)
    step_size: float = Field(default=STEP_SIZE, gt=0)
    steps: int = Field(default=STEPS, ge=1)
    brain_radius: float = Field(default=MRI_RADIUS, gt=0)
    brain_step_size: float = Field(default=STEP_SIZE, gt=0)
    seeds: int = Field(default=3, ge=1)
    perturbation_batch: int = Field(default=500, ge=1)
    adaptation_size: int | None = Field(default=None, ge=10)


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "paper": Preset(),
        "gpu-fast": Preset(
            epochs=30, batch_size=256, peak_learning_rate=0.2, brain_size=224, steps=40, brain_step_size=0.125
        ),
        "cpu": Preset(
            base="resnet_small",
            victims=("vgg_small", "preresnet_small"),
            learner="preresnet_small",
            simulator="resnet_small",
            brain_base="resnet_small",
            brain_victims=("densenet_small", "preresnet_small", "vgg_small"),
            train_size=10_000,
            test_size=1_000,
            brain_size=64,
            epochs=12,
            batch_size=64,
            steps=20,
            # Twice the paper's budget; the paper's misleads victims much less at 64 pixels (results/real_slices.md).
            brain_radius=2 * MRI_RADIUS,
            brain_step_size=0.5,
            seeds=1,
            perturbation_batch=8,
            adaptation_size=3_000,
        ),
    }
)
"""Presets by name."""


def choose_preset(name: str) -> Preset:
    """Return the preset with this name; otherwise raise a :class:`SettingsError` that lists all names."""
    if name not in PRESETS:
        raise SettingsError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
