# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The page of what tracing leaked files found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scripts.markdown import markdown_table


def draw_page(rows: list[dict[str, Any]], conditions: Iterable[str]) -> str:
    """The results as Markdown.

    Args:
        rows: Of ``results/tracing_files.jsonl``.
        conditions: What was measured, a line each.
    """
    lines = ["# Tracing leaked files", "", *(f"- {each}" for each in conditions), ""]
    head = ["data", "classes", "what happened to the files", "found, of 100", "others named", "found from one image"]
    head += ["score of an image", "innocent accused, of 1,000", "p of uniformity (KS)"]
    measured = [row for row in rows if row["way"] != "distance"]
    table = [
        [
            row["data"],
            str(row["classes"]),
            row["way"],
            *(str(row[name]) for name in ("all_found", "others_named", "all_found_from_one_image")),
            f"{row['mean_score_of_an_image']:.1f}",
            str(row["innocent_accused"]),
            f"{row['ks_p']:.2f}",
        ]
        for row in measured
    ]
    lines += [markdown_table(head, table), "", "Found: of averages, all whose copies are in it.", ""]
    head = ["data", "classes", "change", "two copies apart", "the same without marks", "cosine of changes"]
    head += ["the same without marks"]
    names = ("change", "apart", "apart_without_marks", "cosine", "cosine_without_marks")
    table = [
        [row["data"], str(row["classes"]), *(f"{row[name]:.2f}" for name in names)]
        for row in rows
        if row["way"] == "distance"
    ]
    lines += ["How far apart two recipients' copies are, root mean square in gray levels of 255:", ""]
    return "\n".join([*lines, markdown_table(head, table)]) + "\n"
