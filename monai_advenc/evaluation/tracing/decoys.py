# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Decoy keys: keys that nobody received, drawn from one seed, against which recipients' keys are scored."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Final

from monai_advenc.evaluation.tracing.significance import MOST_DECOYS

DECOYS: Final = 100_000
"""Decoys unless another number is asked for: enough for 21 recipients at level 1e-3."""

_MORE, _EFFORT = 10, 100
"""How many times as many decoys a model's answers are scored against, and up to what effort: some seconds."""


@dataclass(frozen=True)
class Decoys:
    """Layout secrets of decoy keys.

    Attributes:
        seed: 64 hexadecimal digits.
        count: How many.
    """

    seed: str
    count: int = DECOYS

    def secret(self, number: int) -> bytes:
        """The layout secret of a decoy, 32 bytes: uniform, like those that keys draw."""
        return hashlib.sha256(f"decoy {number} ".encode() + bytes.fromhex(self.seed)).digest()

    def for_model(self, classes: int, targets: int) -> Decoys:
        """The decoys for answers of a model: up to ten times as many where correspondences are cheap to draw.

        Keys can be told apart less well by answers than by files, so that more decoys accuse more of the guilty.

        Args:
            classes: Number of classes.
            targets: Targets of a class.
        """
        # Columns that share no target come from about so many drafts.
        drafts = math.exp(targets * (targets - 1) / 2)
        if classes * drafts > _EFFORT:
            return self
        return replace(self, count=max(self.count, min(_MORE * self.count, MOST_DECOYS)))
