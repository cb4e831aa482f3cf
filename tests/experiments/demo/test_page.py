# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What the demo's page claims is what was measured."""

from __future__ import annotations

import json
from itertools import product

import numpy as np

from monai_advenc.experiments.demo.page import REAL_SLICES
from tests.conftest import REPOSITORY


def test_the_real_figures_on_the_demo_page_are_those_of_the_committed_results() -> None:
    results = REPOSITORY / "results" / "real_slices.jsonl"
    measured: dict[tuple[str | None, str, float], list[dict[str, float]]] = {}
    for line in results.read_text().splitlines():
        row = json.loads(line)
        if "victims" in row and row["bits"] in (None, 16):
            cell = measured.setdefault((row["combiner"], row["steps"], row["radius"]), [])
            cell += [{name: tested["last"] for name, tested in victim.items()} for victim in row["victims"].values()]

    def shown(cell: list[dict[str, float]], test_set: str) -> str:
        values = [100 * victim[test_set] for victim in cell if test_set in victim]
        if not values:
            return ""
        spread = f" ± {np.std(values, ddof=1):.1f}" if test_set == "orig" else ""
        return f"{np.mean(values):.1f}{spread} %"

    arms = [(None, "plain"), *product(("basic", "horizontal-concat"), ("plain", "augmentation-aware"))]
    expected = [
        tuple(
            shown(measured[combiner, steps, radius if combiner else 0], test_set)
            for radius in (0.8, 0.4)
            for test_set in ("enc", "orig")
        )
        for combiner, steps in arms
    ]
    assert [row[1:] for row in REAL_SLICES] == expected
