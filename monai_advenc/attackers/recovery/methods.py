# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Methods of a recovery attack: guess the targets of every class under what the attacker assumes about the key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from monai_advenc.attackers.recovery.enumeration import EVEN_CONCAT, enumerate_key
from monai_advenc.attackers.recovery.guesser import WHOLE_IMAGE, Guesser, Layout, Targets
from monai_advenc.attackers.recovery.separable import (
    recover_by_slot,
    recover_without_layout,
    recover_without_ratio,
    refine,
)
from monai_advenc.encryption.paper import MIXUP_AND_CONCAT_RATIOS
from monai_advenc.errors import SettingsError
from monai_advenc.settings import Settings

LAYOUTS: Mapping[str, tuple[Layout, int]] = MappingProxyType(
    {
        "basic": (WHOLE_IMAGE, 1),
        "horizontal-concat": (EVEN_CONCAT, 2),
        "mixup-and-concat": (Layout("mixup-and-concat", MIXUP_AND_CONCAT_RATIOS), 4),
    }
)
"""The paper's methods with the paper's ratios, and their numbers of targets."""

CONCAT_LAYOUTS = tuple(Layout("horizontal-concat", (tenths / 10, 1 - tenths / 10)) for tenths in range(1, 10))
"""Horizontal Concats of all ratios in tenths, for an attacker who does not know the ratio."""


class RecoveryAttack(Settings):
    """Method and assumptions of the attacker.

    Attributes:
        method: ``"separable"`` guesses slot by slot and refines each slot once; ``"enumeration"`` tries every
            combination of targets (the paper's attack, sections 3.4 and 4.3); ``"layout-unknown"`` finds the targets
            of a class without knowing how their versions are joined; ``"ratio-unknown"`` does the same and then finds
            the ratio of a Horizontal Concat.
        combiner: A name in :data:`LAYOUTS`; not used if the layout is unknown.
        num_targets: Number of targets to find if the layout is unknown.
    """

    method: Literal["separable", "enumeration", "layout-unknown", "ratio-unknown"] = "separable"
    combiner: str = "horizontal-concat"
    num_targets: int = Field(default=2, ge=1)

    def recover(self, guesser: Guesser) -> tuple[Targets, ...]:
        """Guess the targets of every class.

        Args:
            guesser: Scores guesses and counts them.

        Returns:
            The targets of each class: one per slot, or in no particular order if the layout is unknown.

        Raises:
            SettingsError: The combiner is unknown, there are too few classes, or enumeration would take too many tries.
        """
        self.require_possible(guesser.num_classes)
        targets = self._number_of_targets()
        if self.method == "layout-unknown":
            return recover_without_layout(guesser, targets)
        if self.method == "ratio-unknown":
            return recover_without_ratio(guesser, CONCAT_LAYOUTS, targets)
        layout, slots = LAYOUTS[self.combiner]
        if self.method == "separable":
            return refine(guesser, recover_by_slot(guesser, layout, slots), layout)
        return enumerate_key(guesser, layout, slots)

    def require_possible(self, num_classes: int) -> None:
        """Refuse an attack that cannot end, before networks are trained for it.

        Raises:
            SettingsError: As :meth:`recover`.
        """
        targets = self._number_of_targets()
        if targets > num_classes - 1:
            instead = "fewer targets" if self.method == "layout-unknown" else "another combiner or method"
            raise SettingsError(
                f"{targets} different targets per class need at least {targets + 1} classes, got {num_classes}; "
                f"choose {instead}"
            )
        if self.method == "enumeration" and targets > 2:
            tries = num_classes * math.perm(num_classes - 1, targets)
            raise SettingsError(
                f"enumerating {targets} targets needs at least {tries:,} tries; use the separable attack"
            )

    def _number_of_targets(self) -> int:
        if self.method == "layout-unknown":
            return self.num_targets
        if self.method == "ratio-unknown":
            return LAYOUTS["horizontal-concat"][1]
        if self.combiner not in LAYOUTS:
            raise SettingsError(f"unknown combiner {self.combiner!r} for an attack; choose from {', '.join(LAYOUTS)}")
        return LAYOUTS[self.combiner][1]
