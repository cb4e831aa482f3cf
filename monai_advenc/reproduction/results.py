# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Results as JSON lines, and tables drawn from those alone: our mean and spread beside the paper's number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from monai_advenc.errors import OutputError, SettingsError
from monai_advenc.json_lines import append_lines, read_lines
from monai_advenc.reproduction.paper_tables import PAPER_TABLES
from monai_advenc.settings import Settings


class Result(Settings):
    """What one part of a table came to for one seed.

    Attributes:
        table: Number of the table.
        part: The part that was measured at once: a victim, a sweep.
        seed: Its seed.
        preset: Size of the experiment.
        rows: Accuracies as fractions, by row and column of the table.
        facts: What else was found: counts, costs, by a name that says what they are.
        seconds: Time it took, networks and encrypted sets that were there already not counted.
    """

    table: int
    part: str
    seed: int
    preset: str
    rows: dict[str, dict[str, float]]
    facts: dict[str, float] = Field(default_factory=dict)
    seconds: float


def append_result(path: Path, result: Result) -> None:
    """Add a line to a file of results, on disk before this returns.

    Raises:
        OutputError: The disk refuses.
    """
    append_lines(path, [result.model_dump_json()])


def read_results(path: Path) -> list[Result]:
    """Read a file of results; a line cut short by a kill is left out.

    Raises:
        OutputError: The file is damaged elsewhere than at its end.
    """
    try:
        return [Result(**json.loads(line)) for line in read_lines(path)]
    except (ValueError, TypeError, ValidationError, SettingsError):
        raise OutputError(f"{path} holds lines that are no results; move it away") from None


def draw_table(number: int, results: Sequence[Result]) -> str:
    """The table in Markdown: accuracies in percent, mean and sample standard deviation over seeds, the paper's beside.

    Args:
        number: Number of the table.
        results: Results of that table.
    """
    paper = PAPER_TABLES[number]
    ours: dict[str, dict[str, list[float]]] = {}
    for result in results:
        for row, values in result.rows.items():
            for column, value in values.items():
                ours.setdefault(row, {}).setdefault(column, []).append(100 * value)
    columns = list(dict.fromkeys([*paper.columns, *(column for row in ours.values() for column in row)]))
    head = ["", *(f"{column} {whose}" for column in columns for whose in ("ours", "paper"))]
    blank = [index for index, name in enumerate(head) if name.endswith(" paper") and name[:-6] not in paper.columns]
    lines = [[name for index, name in enumerate(head) if index not in blank]]
    for row in [*ours, *(row for row in paper.rows if row not in ours)]:
        cells = [row]
        for column in columns:
            cells.append(_spread(ours.get(row, {}).get(column, [])))
            if column in paper.columns:
                printed = paper.rows.get(row, {}).get(column)
                cells.append("" if printed is None else f"{printed:.1f}")
        lines.append(cells)
    table = "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], ["---"] * len(lines[0]), *lines[1:]))
    facts = "\n".join(f"- {name}: {text}" for name, text in _facts(results).items())
    seeds = sorted({result.seed for result in results})
    presets = ", ".join(sorted({result.preset for result in results}))
    note = f"Preset {presets}, seeds {', '.join(map(str, seeds))}; percent."
    return f"## Table {number}. {paper.title}\n\n{note}\n\n{table}\n" + (f"\n{facts}\n" if facts else "")


def _facts(results: Sequence[Result]) -> dict[str, str]:
    values: dict[str, list[float]] = {}
    for result in results:
        for name, value in result.facts.items():
            values.setdefault(name, []).append(value)
    return {name: ", ".join(f"{value:g}" for value in found) for name, found in values.items()}


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"
