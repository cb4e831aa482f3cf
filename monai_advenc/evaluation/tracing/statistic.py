# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The statistics that score keys, by name and version: a commitment fixes them before the images are shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Statistic:
    """A way to score keys on a leak, and to decide whom the scores accuse.

    Attributes:
        name: Of what is traced.
        version: Grows with every change that can change a score or who is accused. Version 1 accused by the p value
            itself; since version 2 its upper bound decides, see
            :func:`monai_advenc.evaluation.tracing.significance.upper_bound`.
        summary: What it measures, in a sentence.
    """

    name: str
    version: int
    summary: str


FILES: Final = Statistic(
    "files", 2, "Correlation of the change in the leaked images, against their originals, with the mark of each key"
)

MODELS: Final = Statistic(
    "models",
    2,
    "Excess of wrong answers with a class that the key sends to the class the probe was perturbed toward, over those "
    "of a model that does not see the perturbation; about in standard deviations",
)

STATISTICS: Final = (FILES, MODELS)
"""All that a commitment names."""
