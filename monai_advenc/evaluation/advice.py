# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What to do about a data set that is weakly protected or not protected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from monai_advenc.evaluation.measurement import BODY_ONLY

ENOUGH: Final = 0.02
"""A base network within two points of a network trained on originals has learned what there is to learn."""


@dataclass(frozen=True)
class BaseFacts:
    """What is known of the base network.

    Attributes:
        accuracy: On originals kept aside; ``None``: unknown.
        family: Of its perturbations, see :mod:`monai_advenc.perturbation`; ``None``: unknown.
    """

    accuracy: float | None = None
    family: str | None = None


NOTHING_KNOWN: Final = BaseFacts()


def advice_to_strengthen(best_trained_on: str, clean: float, base: BaseFacts) -> str:
    """What may mislead networks more, in the order in which to try it.

    Args:
        best_trained_on: Training set of the best victim.
        clean: Accuracy of the same network trained on originals.
        base: The base network.
    """
    ways = ["a larger --radius (easier to see; monai-advenc recommend searches the smallest that protects)"]
    if best_trained_on == BODY_ONLY:
        ways.append("--region body, because the best network was trained without the background")
    if base.family != "error-minimizing":
        ways.append(
            "--profile error-minimizing --region body (in an unfinished screening it left networks 4 to 11 points less "
            "than Basic at the same PSNR: docs/strength.md)"
        )
    if base.accuracy is None:
        ways.append(f"a base network trained longer (--epochs), if its accuracy is below {clean:.0%}")
    elif base.accuracy < clean - ENOUGH:
        ways.append(
            f"a base network trained longer (--epochs): its accuracy is {base.accuracy:.0%}, that of the network "
            f"trained on originals {clean:.0%}"
        )
    ways.append("more cases")
    return f"To protect more, write another --out with {'; '.join(ways[:-1])}; or {ways[-1]}."
