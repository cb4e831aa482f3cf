# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What to do where networks are misled too little: which ways there are, and in which order to try them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from monai_advenc.evaluation.measurement import BODY_ONLY
from monai_advenc.networks.training import TrainingSettings

ENOUGH: Final = 0.02
"""A base network within two points of a network trained on originals has learned what there is to learn."""


LITTLE: Final = 0.6
"""Share of the way from chance to no error below which a network has learned little: there is little to mislead."""


@dataclass(frozen=True)
class BaseFacts:
    """What is known of the base network.

    Attributes:
        accuracy: On originals kept aside; ``None``: unknown.
        family: Of its perturbations, see :mod:`monai_advenc.perturbation`; ``None``: unknown.
        elsewhere: Whether it was trained on other images; the accuracy is then that on these.
        at_home: If so, its accuracy on images kept aside where it was trained; ``None``: unknown.
    """

    accuracy: float | None = None
    family: str | None = None
    elsewhere: bool = False
    at_home: float | None = None


NOTHING_KNOWN: Final = BaseFacts()


@dataclass(frozen=True)
class Hurried:
    """That networks were trained for fewer epochs than the default.

    Attributes:
        epochs: How many.
        usual: The default for as many images.
    """

    epochs: int
    usual: int

    @classmethod
    def by(cls, epochs: int | None, images: int) -> Hurried | None:
        """Compare epochs that were asked for with the default for so many training images; ``None``: not hurried."""
        usual = TrainingSettings().enough_for(images).epochs
        return None if epochs is None or epochs >= usual else cls(epochs, usual)


class Way(IntEnum):
    """What may mislead networks more, in the order in which to try it; every list of ways has this order."""

    CASES_TO_LEARN_FROM = 1
    BASE_OF_THESE_IMAGES = 2
    RADIUS = 3
    STEPS = 4
    REGION = 5
    FAMILY = 6
    BETTER_BASE = 7
    MORE_CASES = 8


def in_order(ways: Mapping[Way, str]) -> str:
    """Ways in the order in which to try them: ``a; b; or c``."""
    *others, last = (ways[way] for way in sorted(ways))
    return f"{'; '.join(others)}; or {last}" if others else last


def advice_to_reach_targets(base: BaseFacts = NOTHING_KNOWN) -> str:
    """What to do where the base network takes few of the images that were made with it for their targets.

    Args:
        base: The base network.
    """
    ways = {
        Way.RADIUS: "a larger --radius (easier to see)",
        Way.STEPS: "more --steps, if the key has fewer than the paper's 100",
    }
    if base.elsewhere and base.at_home is not None:
        ways |= _of_these_images(base, base.at_home, f"{base.at_home:.0%} where it was trained")
    if Way.BASE_OF_THESE_IMAGES not in ways:
        known = "" if base.accuracy is None else f" (its accuracy is {base.accuracy:.0%})"
        ways[Way.BETTER_BASE] = f"a base network that reads these images better{known}"
    return f"Write another --out with {in_order(ways)}."


def advice_to_strengthen(
    best_trained_on: str, clean: float, base: BaseFacts, chance: float = 0.0, hurried: Hurried | None = None
) -> str:
    """What may mislead networks more, in the order in which to try it.

    Args:
        best_trained_on: Training set of the best victim.
        clean: Accuracy of the same network trained on originals.
        base: The base network.
        chance: Share of the commonest class.
        hurried: That the networks were trained for fewer epochs than usual; ``None``: they were not.
    """
    has_learned_little = clean - chance < LITTLE * (1 - chance)
    ways = {
        Way.RADIUS: "a larger --radius (easier to see; monai-advenc recommend searches the smallest that protects)",
        **_better_base(base, clean),
    }
    if best_trained_on == BODY_ONLY:
        ways[Way.REGION] = "--region body, because the best network was trained without the background"
    if base.family != "error-minimizing":
        ways[Way.FAMILY] = (
            "--profile error-minimizing --region body (in an unfinished screening it left networks 4 to 11 points less "
            "than Basic at the same PSNR: docs/strength.md)"
        )
    first = "To"
    if has_learned_little and hurried is None:
        ways[Way.CASES_TO_LEARN_FROM] = f"more cases, because even networks trained on originals reach {clean:.0%} only"
    else:
        ways[Way.MORE_CASES] = "more cases"
    if has_learned_little and hurried is not None:
        first = (
            f"First evaluate with the default of {hurried.usual} epochs (another --out, no --epochs): with "
            f"{hurried.epochs}, training on originals reaches {clean:.0%} only; to"
        )
    return f"{first} protect more, write another --out with {in_order(ways)}."


def _better_base(base: BaseFacts, clean: float) -> dict[Way, str]:
    """The way of another base network, where this one may have learned less than there is to learn."""
    if base.elsewhere and base.accuracy is not None:
        return _of_these_images(base, clean, f"training on originals {clean:.0%}")
    longer = "a base network trained longer (--epochs)"
    if base.accuracy is None:
        return {Way.BETTER_BASE: f"{longer}, if its accuracy is below {clean:.0%}"}
    if base.accuracy >= clean - ENOUGH:
        return {}
    own = f"its accuracy is {base.accuracy:.0%}, that of the network trained on originals {clean:.0%}"
    return {Way.BETTER_BASE: f"{longer}: {own}"}


def _of_these_images(base: BaseFacts, expected: float, compared: str) -> dict[Way, str]:
    """The way of a base network trained on these images, where that from elsewhere reads them worse than expected."""
    if base.accuracy is None or base.accuracy >= expected - ENOUGH:
        return {}
    own = f"--base has {base.accuracy:.0%} on them, {compared}"
    return {Way.BASE_OF_THESE_IMAGES: f"a base network trained on these images ({own})"}
