# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures of ``docs/how_to/trace.md``: who was named, and how far copies are apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.markdown import markdown_table

RESULTS = Path(__file__).resolve().parents[1] / "results"


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RESULTS / name).read_text(encoding="utf-8").splitlines()]


def named() -> str:
    """Who was named after each way in which files change, over all data sets and numbers of classes."""
    rows = [row for row in _rows("tracing_files.jsonl") if row["way"] != "distance"]
    settings = {(row["data"], row["classes"]) for row in rows}
    head = ["what happened to the files", f"found, of 100 trials ({len(settings)} settings)", "others named"]
    head += ["found from one image", "innocent named, of 1,000 trials"]
    table = []
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        columns = ("all_found", "others_named", "all_found_from_one_image", "innocent_accused")
        table.append([way, *(_span(row[name] for row in own) for name in columns)])
    lowest = min(row["ks_p"] for row in rows)
    total = sum(row["innocent_accused"] for row in rows)
    trials = sum(row["innocent_trials"] for row in rows)
    said = (
        "Settings: real slices and phantoms, each with 2, 3 and 5 classes. "
        f"Of all {trials:,} innocent trials {total} named somebody; {trials // 1000} may by chance. "
        f"The lowest p of {len(rows)} Kolmogorov-Smirnov tests whether p values of the innocent are uniform is "
        f"{lowest:.2g}. Row by row: `results/tracing_files.md`."
    )
    return "\n".join([markdown_table(head, table), "", said])


def apart() -> str:
    """How far apart two recipients' copies are."""
    rows = [row for row in _rows("tracing_files.jsonl") if row["way"] == "distance"]
    distance, change, plain = (
        _span((row[name] for row in rows), ".2f") for name in ("apart", "change", "apart_without_marks")
    )
    return (
        f"Two recipients' copies are {distance} gray levels of 255 apart (root mean square; each is {change} from the "
        f"original). Without marks it is {plain}: random views and targets differ as well."
    )


def _span(values: Iterable[float], form: str = "") -> str:
    found = sorted(values)
    low, high = (f"{each:{form}}" for each in (found[0], found[-1]))
    return low if low == high else f"{low} to {high}"


FIGURES: Mapping[str, Callable[[], str]] = {"tracing-files": named, "tracing-apart": apart}
