# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What to do about a data set that is weakly protected or not protected."""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    accuracy: float | None = None
    family: str | None = None
    elsewhere: bool = False


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
    ways = ["a larger --radius (easier to see; monai-advenc recommend searches the smallest that protects)"]
    if best_trained_on == BODY_ONLY:
        ways.append("--region body, because the best network was trained without the background")
    if base.family != "error-minimizing":
        ways.append(
            "--profile error-minimizing --region body (in an unfinished screening it left networks 4 to 11 points less "
            "than Basic at the same PSNR: docs/strength.md)"
        )
    if base.elsewhere and base.accuracy is not None and base.accuracy < clean - ENOUGH:
        ways.insert(
            0,
            f"a base network trained on these images (--base has {base.accuracy:.0%} on them, training on originals "
            f"{clean:.0%})",
        )
    elif base.accuracy is None:
        ways.append(f"a base network trained longer (--epochs), if its accuracy is below {clean:.0%}")
    elif base.accuracy < clean - ENOUGH:
        ways.append(
            f"a base network trained longer (--epochs): its accuracy is {base.accuracy:.0%}, that of the network "
            f"trained on originals {clean:.0%}"
        )
    cases, first = "more cases", "To"
    if has_learned_little and hurried is None:
        ways.insert(0, f"{cases}, because even networks trained on originals reach {clean:.0%} only")
    else:
        ways.append(cases)
    if has_learned_little and hurried is not None:
        first = (
            f"First evaluate with the default of {hurried.usual} epochs (another --out, no --epochs): with "
            f"{hurried.epochs}, training on originals reaches {clean:.0%} only; to"
        )
    return f"{first} protect more, write another --out with {'; '.join(ways[:-1])}; or {ways[-1]}."
