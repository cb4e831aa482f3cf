# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw the table of scripts/measure_strength.py from its rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from monai_advenc.data.manifest import software_versions
from scripts.markdown import markdown_table

WORST, MASKED = "worst", ", background masked"


def page_of(rows: list[dict[str, Any]]) -> str:
    """A table for each part, size and radius: mean over seeds of the last and the best epoch, in percent."""
    lines = ["# Strength of the families", ""]
    lines += [
        "Accuracy on real images in percent, answers renamed in the best way: last epoch / best epoch, mean over seeds "
        "(each seed's best epoch in brackets). *Worst* is the highest figure of the networks that train on the "
        "images as they are or without background. Every way takes the same number of steps. The protocol is "
        "docs/strength.md.",
        "",
    ]
    rows = [{**row, "accuracy": {WORST: worst_of(row), **row["accuracy"]}} for row in rows]
    groups = sorted({(row["part"], row["size"], row["radius"]) for row in rows})
    for group in groups:
        chosen = [row for row in rows if (row["part"], row["size"], row["radius"]) == group]
        lines += [f"## {group[0]} images, {group[1]}x{group[1]} pixels, L2 radius {group[2]:g}", ""]
        kinds = list(dict.fromkeys(kind for row in chosen for kind in row["accuracy"]))
        head = ["way", "PSNR dB", "HaarPSI", *kinds, "CPU s"]
        body_rows = []
        for way in dict.fromkeys(row["way"] for row in chosen):
            of_way = [row for row in chosen if row["way"] == way]
            body_rows.append(
                [
                    way,
                    mean(of_way, "psnr_db", ".1f"),
                    mean(of_way, "haarpsi", ".3f"),
                    *[shown(of_way, kind) for kind in kinds],
                    mean(of_way, "crafting_s", ".0f"),
                ]
            )
        lines += [markdown_table(head, body_rows), ""]
    lines.append("Software: " + ", ".join(f"{name} {version}" for name, version in software_versions().items()))
    return "\n".join(lines) + "\n"


def worst_of(row: dict[str, Any]) -> dict[str, float]:
    """The highest accuracies of the networks that train on the images as they are or without background."""
    names = [f"{name}{kind}" for name in row["victims"].split(",") for kind in ("", MASKED)]
    return {epoch: max(row["accuracy"][name][epoch] for name in names) for epoch in ("last", "best")}


def mean(rows: list[dict[str, Any]], name: str, form: str) -> str:
    """Mean over seeds, or a dash."""
    values = [row[name] for row in rows if name in row]
    return format(float(np.mean(values)), form) if values else "-"


def shown(rows: list[dict[str, Any]], kind: str) -> str:
    """Last and best epoch of one kind of recipient."""
    measured = [row["accuracy"][kind] for row in rows if kind in row["accuracy"]]
    last, best = ([100 * each[name] for each in measured] for name in ("last", "best"))
    if not best:
        return "-"
    each = f" ({' '.join(f'{value:.0f}' for value in best)})" if len(best) > 1 else ""
    return f"{np.mean(last):.1f} / {np.mean(best):.1f}{each}"
