# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Set everything outside the body to zero: a recipient may crop the background, and the perturbation in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from monai_advenc.attackers.countermeasures.attacker import Attacker
from monai_advenc.attackers.countermeasures.filtering import filter_attacker
from monai_advenc.evaluation.protection import body_only


@dataclass(frozen=True)
class BodyOnly:
    """Set pixels outside the body to zero; an image without contrast stays as it is."""

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``(N, C, H, W)``."""
        return body_only(images)


BACKGROUND: Final[tuple[Attacker, ...]] = (
    filter_attacker("background-masked", "masking the background", BodyOnly(), "docs/verdict.md, rule 1"),
)
