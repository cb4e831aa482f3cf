# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Decoy keys: keys that nobody received, drawn from one seed, against which recipients' keys are scored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

DECOYS: Final = 100_000
"""Decoys unless another number is asked for: enough for 100 recipients at level 1e-3."""


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
