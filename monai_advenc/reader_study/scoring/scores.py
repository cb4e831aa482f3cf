# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The result of a study as values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from monai_advenc.reader_study.statistics.agreement import Agreement
from monai_advenc.reader_study.statistics.paired_proportions import FourCells

ALL_READERS = "all readers"


@dataclass(frozen=True)
class Rate:
    """Accuracy of one reader, or of all, under one condition.

    The interval of all readers holds for these readers and for cases like these.
    """

    reader: str
    condition: str
    right: int
    total: int
    interval: tuple[float, float]

    @property
    def value(self) -> float:
        """Accuracy as a fraction; NaN without readings."""
        return self.right / self.total if self.total else float("nan")


@dataclass(frozen=True)
class Comparison:
    """Encrypted against original images, for one reader or all.

    Attributes:
        reader: Name, or "all readers".
        cells: The paper's figure 6.
        wrong_differently: Number of cases with two different wrong answers.
        difference: Accuracy on encrypted minus accuracy on original images.
        interval: Its interval of the level that was fixed beforehand.
        non_inferiority_p: One-sided p-value.
        non_inferior: Whether that p-value is below the level.
        mcnemar_p: Exact, two-sided; for one reader only, because readings of several are not independent.
        method: How interval and p-value were computed.
        agreement: Agreement of the two readings of each case.
    """

    reader: str
    cells: FourCells
    wrong_differently: int
    difference: float
    interval: tuple[float, float]
    non_inferiority_p: float
    non_inferior: bool
    mcnemar_p: float | None
    method: str
    agreement: Agreement


@dataclass(frozen=True)
class Times:
    """Viewing time per case in seconds under both conditions; p of Wilcoxon's signed-rank test on the differences."""

    reader: str
    original_median: float
    encrypted_median: float
    p: float | None


@dataclass(frozen=True)
class NamedAgreement:
    """An agreement with the names of its readers."""

    who: str
    what: str
    agreement: Agreement


@dataclass(frozen=True)
class Scores:
    """The whole result."""

    simulated: bool
    planned: int
    answered: int
    cases: int
    readers: tuple[str, ...]
    rates: tuple[Rate, ...]
    comparisons: tuple[Comparison, ...]
    agreements: tuple[NamedAgreement, ...]
    repeats: tuple[NamedAgreement, ...]
    times: tuple[Times, ...]
    choices: tuple[tuple[Rate, float], ...]
    warnings: tuple[str, ...]

    @property
    def overall(self) -> Comparison | None:
        """The decisive comparison: over all readers, or of the only reader."""
        return self.comparisons[-1] if self.comparisons else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; undefined values are ``null``."""
        plain: dict[str, Any] = json.loads(to_json(self, inf_nan_mode="null"))
        return plain
