# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Sizes of the demo, and the names of what it compares."""

from __future__ import annotations

from dataclasses import dataclass

CLEAN, PAPER, AUGMENTATION_AWARE = "clean", "paper", "augmentation_aware"


@dataclass(frozen=True, kw_only=True)
class DemoRecipe:
    """Sizes of the demo; the defaults were fixed on other seeds than those that the README shows.

    Attributes:
        volumes: Phantom volumes, the same number for each class.
        test_share: Share of the cases that no network trains on.
        size: Side of the slices in pixels.
        radius: L2 radius at that side.
        steps: PGD steps of both encryptions.
        base: Base network.
        victims: Victims' networks.
        base_epochs: Passes of the base network's training.
        victim_epochs: Passes of each victim's training.
    """

    volumes: int = 2500
    test_share: float = 0.2
    size: int = 64
    radius: float = 1.0
    steps: int = 16
    base: str = "resnet_small"
    victims: tuple[str, ...] = ("vgg_small", "preresnet_small")
    base_epochs: int = 16
    victim_epochs: int = 18
