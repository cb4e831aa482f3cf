# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The base networks and copies that scripts/trace_few_classes.py measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Copy:
    """A recipient's copy: number of the key, patterns of a class, patterns in use, length of all steps in radii."""

    key: int
    patterns: int
    used: int
    reach: float


@dataclass(frozen=True)
class Design:
    """A base network: variants or codes, how many, epochs, architecture; and the copies made with it."""

    kind: str
    number: int
    epochs: int
    network: str
    copies: tuple[Copy, ...]

    @property
    def name(self) -> str:
        """Name of its rows and its folder."""
        return f"{self.number} {self.kind}, {self.network}"


LONGER: Final = 4.0
"""Length of all steps in radii with which copies of codes fill their ball; 2.5 leaves them 1 to 3 dB short of it."""

PLAIN = Design("own class", 1, 14, "resnet_small", (Copy(0, 1, 1, 2.5),))
DESIGNS: Final = (
    Design("variants", 16, 14, "resnet_small", tuple(Copy(key, 1, 16, 2.5) for key in (0, 1, 2, 3))),
    Design(
        "codes",
        16,
        18,
        "resnet_small",
        (
            *(Copy(key, 1, 16, LONGER) for key in (20, 21, 22)),
            *(Copy(key, 1, 16, 2.5) for key in (0, 1)),
            Copy(10, 3, 9, LONGER),
        ),
    ),
    Design("variants", 8, 24, "resnet_small", (Copy(0, 1, 8, 2.5), Copy(1, 2, 8, 2.5), Copy(2, 4, 8, 2.5))),
    Design("codes", 48, 24, "resnet_small", (Copy(20, 1, 48, LONGER), Copy(21, 1, 48, LONGER))),
)
