# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures of ``docs/how_to/trace.md``: who was named, how far copies are apart, what marks cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scripts.few_classes_table import draw_table
from scripts.markdown import markdown_table
from scripts.traced_models_page import draw_again, draw_summary

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
    said = "Settings: real slices and phantoms, each with 2, 3 and 5 classes. "
    return "\n".join(
        [markdown_table(head, table), "", f"{said}{_innocent(rows)} Row by row: `results/tracing_files.md`."]
    )


def named_again() -> str:
    """Who was named in the second run, on other images."""
    rows = [row for row in _rows("tracing_files_again.jsonl") if row["way"] != "distance"]
    found, others = (_span(row[name] for row in rows) for name in ("all_found", "others_named"))
    return (
        "A second run on other slices and phantoms (the same protocol; `results/tracing_files_again.md`) found the "
        f"leaker in {found} of 100 trials in each of {len(rows)} rows, and named others in {others}. {_innocent(rows)}"
    )


def _innocent(rows: list[dict[str, Any]]) -> str:
    """How often somebody innocent was named, and how uniform p values are."""
    trials, named = (sum(row[column] for row in rows) for column in ("innocent_trials", "innocent_accused"))
    most, lowest = max(row["innocent_accused"] for row in rows), min(row["ks_p"] for row in rows)
    each = rows[0]["innocent_trials"]
    return (
        f"Of all {trials:,} innocent trials {named} named somebody, at most {most} of the {each:,} of a row; the level "
        f"allows {trials // 1000}, and {each // 1000} in a row. The lowest p of {len(rows)} Kolmogorov-Smirnov tests "
        f"whether p values of the innocent are uniform is {lowest:.2g}."
    )


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


def cost() -> str:
    """Accuracy on real images of victims trained with and without marks."""
    rows = _rows("mark_cost.jsonl")
    head = ["victims trained on", "seeds", "Orig", "Orig, best epoch", "minus no mark, paired", "PSNR dB"]
    plain = {row["seed"]: row["orig"] for row in rows if row["trained_on"] == "mark None"}
    titles = {"originals": "originals", "mark None": "encrypted, no mark"}
    table = []
    for name in dict.fromkeys(row["trained_on"] for row in rows):
        own = [row for row in rows if row["trained_on"] == name]
        differences = [row["orig"] - plain[row["seed"]] for row in own]
        is_marked = name not in titles
        table.append(
            [
                titles.get(name, f"encrypted, mark of {name.removeprefix('mark ')} of the radius"),
                str(len(own)),
                *(_percent([row[column] for row in own]) for column in ("orig", "orig_peak")),
                _percent(differences, "+") if is_marked else "–",
                f"{mean(row['psnr_db'] for row in own):.1f}" if name != "originals" else "–",
            ]
        )
    return markdown_table(head, table)


def _percent(shares: list[float], sign: str = "") -> str:
    values = [100 * share for share in shares]
    error = f" ± {stdev(values) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
    return f"{mean(values):{sign}.1f}{error}"


def _span(values: Iterable[float], form: str = "") -> str:
    found = sorted(values)
    low, high = (f"{each:{form}}" for each in (found[0], found[-1]))
    return low if low == high else f"{low} to {high}"


FIGURES: Mapping[str, Callable[[], str]] = {
    "tracing-files": named,
    "tracing-files-again": named_again,
    "tracing-apart": apart,
    "mark-cost": cost,
    "few-classes": lambda: draw_table(_rows("tracing_few_classes.jsonl")),
    "traced-models": lambda: draw_summary(_rows("tracing_models.jsonl")),
    "traced-models-again": lambda: draw_again(_rows("tracing_models_again.jsonl")),
}
