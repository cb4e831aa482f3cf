# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The paper's printed tables (Hu et al. 2020, arXiv 2002.03793) as data: accuracies in percent.

Tables 4 and 6, the correspondences, are in :mod:`monai_advenc.encryption.paper`. Cells have the names of our
measurements, to match our rows with the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class PaperTable:
    """One printed table.

    Attributes:
        number: Its number.
        title: Its content, in our words.
        columns: Names of the columns.
        rows: Printed values by cell and column.
        facts: Values from the paper's text, by the names of our findings.
    """

    number: int
    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, float]]
    facts: Mapping[str, float]


BASE_FACT = "base accuracy, %"


def _table(
    number: int,
    title: str,
    columns: str,
    rows: Mapping[str, tuple[float, ...]],
    facts: Mapping[str, float] | None = None,
) -> PaperTable:
    names = tuple(columns.split())
    cells = {cell: MappingProxyType(dict(zip(names, values, strict=True))) for cell, values in rows.items()}
    return PaperTable(number, title, names, MappingProxyType(cells), MappingProxyType(dict(facts or {})))


PAPER_TABLES: Mapping[int, PaperTable] = MappingProxyType(
    {
        table.number: table
        for table in (
            _table(
                1,
                "Victims of basic encryption on CIFAR-10",
                "Enc Orig Orig+P R+Orig",
                {
                    "densenet_bc100": (94.70, 22.61, 32.00, 94.26),
                    "preresnet110": (94.64, 20.67, 41.95, 93.26),
                    "vgg19": (93.58, 28.77, 34.43, 92.17),
                },
                {BASE_FACT: 94.76},
            ),
            _table(
                2,
                "What a victim of basic encryption takes original images of class 0 for",
                "share",
                {
                    str(label): (share,)
                    for label, share in enumerate((9.4, 0.3, 0.2, 36.8, 30.6, 0.9, 0.3, 0.2, 21.2, 0.1))
                },
            ),
            _table(
                3,
                "Enumerating the target of class 0 of a basic encryption",
                "accuracy",
                {
                    "unperturbed": (22.61,),
                    **{
                        f"0 -> {target}": (value,)
                        for target, value in enumerate(
                            (22.15, 22.10, 22.11, 22.21, 22.17, 22.24, 22.22, 31.49, 22.30), start=1
                        )
                    },
                },
            ),
            _table(
                5,
                "Guessing the composition ratio of Horizontal Concat, targets known",
                "accuracy",
                {
                    "unperturbed": (31.70,),
                    "0.5": (94.44,),
                    "0.4": (94.10,),
                    "0.3": (92.26,),
                    "0.2": (90.28,),
                    "0.1": (85.96,),
                    "0.0": (82.79,),
                },
            ),
            _table(
                7,
                "Victims of combined encryption on CIFAR-10",
                "Enc Orig",
                {
                    "horizontal-concat densenet_bc100": (94.62, 29.69),
                    "horizontal-concat preresnet110": (94.49, 32.65),
                    "horizontal-concat vgg19": (94.30, 48.13),
                    "mixup-and-concat densenet_bc100": (94.45, 32.92),
                    "mixup-and-concat preresnet110": (94.03, 37.21),
                    "mixup-and-concat vgg19": (93.06, 55.00),
                },
            ),
            _table(
                8,
                "Guessing pairs of targets of class 0 of a Horizontal Concat",
                "accuracy",
                {
                    "unperturbed": (33.29,),
                    "(8, 4)": (41.31,),
                    "(4, 8)": (41.28,),
                    "(8, 6)": (40.37,),
                    "(8, 5)": (40.76,),
                    "(8, 3)": (39.82,),
                    "(1, 4)": (33.06,),
                    "(2, 4)": (38.53,),
                    "(3, 4)": (36.50,),
                    "(9, 8)": (34.81,),
                    "(7, 8)": (39.83,),
                    "(4, 2)": (38.16,),
                    "(4, 3)": (36.45,),
                    "(7, 0)": (32.85,),
                    "(5, 0)": (32.90,),
                    "(9, 2)": (33.51,),
                    "(0, 3)": (32.60,),
                    "(6, 0)": (32.52,),
                },
            ),
            _table(
                9,
                "Guessing fewer targets than Mixup And Concat has",
                "accuracy",
                {
                    "all four": (93.85,),
                    "unperturbed": (48.14,),
                    "target 1": (81.53,),
                    "targets 1 and 2": (82.50,),
                },
            ),
            _table(
                10,
                "Unsupervised domain adaptation from encrypted to original images",
                "clean->new enc->orig",
                {"source-only": (83.80, 28.73), "generate-to-adapt": (89.28, 49.72)},
            ),
            _table(
                12,
                "Victims of Horizontal Concat on brain-tumor MRI",
                "Enc Orig",
                {
                    "densenet_bc100": (79.01, 38.84),
                    "preresnet110": (79.92, 33.14),
                    "preresnet20": (78.10, 43.64),
                    "vgg19": (80.01, 48.84),
                    "vgg11": (79.98, 50.15),
                },
                {BASE_FACT: 79.92},
            ),
        )
    }
)
"""The tables of results by their numbers."""
