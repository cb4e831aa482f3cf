# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Sizes of the demo, and the names of its training sets."""

from __future__ import annotations

from dataclasses import dataclass

PAPER, AUGMENTATION_AWARE, BODY_ONLY = "paper", "augmentation_aware", "augmentation_aware_body_only"
"""Names of the encrypted training sets: plain steps, augmentation-aware steps, and these without the background."""

QUICK_VOLUMES = 300
"""So few volumes test an installation; networks learn too little from them to show the effect."""


@dataclass(frozen=True, kw_only=True)
class DemoRecipe:
    """Sizes of the demo; the defaults were chosen on other seeds than those in the README.

    Attributes:
        volumes: Number of phantom volumes, equal for all classes.
        test_share: Share of the cases for testing; no network trains on them.
        size: Side of the slices in pixels.
        radius: L2 radius at that side.
        steps: PGD steps of both encryptions.
        base: Base network.
        victims: Victims' networks.
        base_epochs: Training epochs of the base network.
        victim_epochs: Training epochs of each victim.
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
