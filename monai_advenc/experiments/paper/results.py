# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read and write results as JSON lines, and draw tables from them: our values with uncertainty, and the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field
from scipy.stats import binomtest

from monai_advenc.evaluation.measurement import read_records
from monai_advenc.experiments.paper.paper_tables import PAPER_TABLES
from monai_advenc.files.json_lines import append_lines
from monai_advenc.settings import Settings


class Result(Settings):
    """Result of one part of a table for one seed.

    Attributes:
        table: Number of the table.
        part: The measured part: a victim, a sweep.
        seed: Its seed.
        preset: Size of the experiment.
        rows: Accuracies as fractions, by row and column of the table.
        facts: Other findings (counts, costs) by a descriptive name.
        images: Number of images behind the accuracies of a column; ``""`` stands for all other columns.
        seconds: Duration without existing networks and encrypted sets.
        digest: Digest of images, correspondences and settings; equal for all results of one table.
        provenance: Commit, versions, device.
    """

    table: int
    part: str
    seed: int
    preset: str
    rows: dict[str, dict[str, float]]
    facts: dict[str, float] = Field(default_factory=dict)
    images: dict[str, int] = Field(default_factory=dict)
    seconds: float
    digest: str = ""
    provenance: dict[str, str] = Field(default_factory=dict)


def append_result(path: Path, result: Result) -> None:
    """Append a line to a file of results; it is on disk when this returns.

    Raises:
        OutputError: The file cannot be written.
    """
    append_lines(path, [result.model_dump_json()])


def read_results(path: Path) -> list[Result]:
    """Read a file of results; skip a truncated last line.

    Raises:
        OutputError: The file is damaged before its end.
    """
    return read_records(path, Result, "results")


def draw_table(number: int, results: Sequence[Result]) -> str:
    """Draw a table in Markdown, in percent, with the paper's values next to ours.

    Several seeds give a mean with its sample standard deviation, one seed gives the 95 % Wilson interval, which covers
    only the sampling of test images.

    Args:
        number: Number of the table.
        results: Results of that table.
    """
    paper = PAPER_TABLES[number]
    ours: dict[str, dict[str, list[_Value]]] = {}
    for result in results:
        for row, values in result.rows.items():
            for column, value in values.items():
                images = result.images.get(column, result.images.get("", 0))
                ours.setdefault(row, {}).setdefault(column, []).append(_Value(value, images))
    columns = list(dict.fromkeys([*paper.columns, *(column for row in ours.values() for column in row)]))
    head = ["", *(f"{column} {whose}" for column in columns for whose in ("ours", "paper"))]
    blank = [index for index, name in enumerate(head) if name.endswith(" paper") and name[:-6] not in paper.columns]
    lines = [[name for index, name in enumerate(head) if index not in blank]]
    for row in [*ours, *(row for row in paper.rows if row not in ours)]:
        cells = [row]
        for column in columns:
            cells.append(_cell(ours.get(row, {}).get(column, [])))
            if column in paper.columns:
                printed = paper.rows.get(row, {}).get(column)
                cells.append("" if printed is None else f"{printed:.1f}")
        lines.append(cells)
    table = "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], ["---"] * len(lines[0]), *lines[1:]))
    facts = "\n".join(f"- {name}: {text}" for name, text in _facts(results, paper.facts).items())
    seeds = sorted({result.seed for result in results})
    presets = ", ".join(sorted({result.preset for result in results}))
    spread = "mean ± standard deviation" if len(seeds) > 1 else "in brackets 95 % intervals over test images"
    note = f"Preset {presets}, seeds {', '.join(map(str, seeds))}; percent, {spread}."
    return f"## Table {number}. {paper.title}\n\n{note}\n\n{table}\n" + (f"\n{facts}\n" if facts else "")


class _Value(NamedTuple):
    share: float
    images: int


def _facts(results: Sequence[Result], printed: Mapping[str, float]) -> dict[str, str]:
    """Each finding for every seed, with the paper's value."""
    values: dict[str, dict[int, float]] = {}
    for result in results:
        for name, value in result.facts.items():
            values.setdefault(name, {})[result.seed] = value
    texts = {name: _spread(list(found.values()), "g") for name, found in values.items()}
    return {name: f"{text} (paper {printed[name]:g})" if name in printed else text for name, text in texts.items()}


def _cell(values: Sequence[_Value]) -> str:
    if len(values) == 1 and values[0].images:
        share, images = values[0]
        interval = binomtest(round(share * images), images).proportion_ci(method="wilson")
        return f"{100 * share:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
    return _spread([100 * value.share for value in values], ".1f")


def _spread(values: Sequence[float], form: str) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"
