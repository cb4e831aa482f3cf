# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures in the documentation are those of the stored results, also after measuring anew."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

from benchmarks.closing import table
from benchmarks.page import ratios_to_fastest_peer

ROOT = Path(__file__).parents[1]
BF16_BEFORE = "ours bf16, not closed by fp32"
"""How it was measured before the last steps of bf16 were float32's, on the processor without tiles."""


def test_the_ratios_in_the_readme_are_those_last_measured() -> None:
    numbers = json.loads((ROOT / "results" / "benchmarks" / "avx512.json").read_text())
    text = " ".join((ROOT / "README.md").read_text().split())
    between = r"([\d.]+) to ([\d.]+) times"
    said = re.search(
        rf"are {between} .* in float32, {between} in bf16 .*and {between} with convolutions of bytes", text
    )
    assert said is not None
    ratios = [ratios_to_fastest_peer(numbers[case]) for case in ("cifar10", "slices")]
    figures = {"ours fp32": said.group(1, 2), BF16_BEFORE: said.group(3, 4), "ours int8": said.group(5, 6)}
    for method, (low, high) in figures.items():
        medians = [f"{statistics.median(each[method]):.1f}" for each in ratios]
        assert medians == [low, high]


def test_the_ratios_with_tiles_in_the_readme_are_those_last_measured() -> None:
    content = json.loads((ROOT / "results" / "benchmarks" / "amx.json").read_text())
    numbers = content["cifar10"]
    text = " ".join((ROOT / "README.md").read_text().split())
    said = re.search(
        r"bf16 is ([\d.]+) times .* and ([\d.]+) times on slices \(single rounds: ([\d.]+) to ([\d.]+) times\).* "
        r"there ([\d.]+) times .* though (\d+) % of images end more",
        text,
    )
    assert said is not None
    ratios, of_slices = (ratios_to_fastest_peer(content[case]) for case in ("cifar10", "slices"))
    single = ratios["ours bf16"] + of_slices["ours bf16"]
    figures = (*map(statistics.median, (ratios["ours bf16"], of_slices["ours bf16"])), min(single), max(single))
    adaptive = statistics.median(ratios["ours bf16 adaptive"])
    losses, theirs = (numbers["methods"][name]["loss"] for name in ("ours bf16 adaptive", "torchattacks"))
    higher = statistics.mean(own - other > 0.01 for own, other in zip(losses, theirs, strict=True))
    assert said.groups() == (*(f"{figure:.1f}" for figure in (*figures, adaptive)), f"{100 * higher:.0f}")


def test_the_memory_in_the_guide_is_that_last_measured() -> None:
    measured: dict[int, list[int]] = {}
    for run in json.loads((ROOT / "results" / "scale" / "memory.json").read_text())["runs"]:
        measured.setdefault(run["images"], []).extend((run["main_mib"], run["worker_mib"]))
    rows = re.findall(r"^\| ([\d,]+) \|(.*)\|$", (ROOT / "docs" / "how_to" / "scale_out.md").read_text(), re.MULTILINE)
    said = {int(images.replace(",", "")): [int(cell) for cell in cells.split("|")] for images, cells in rows}
    assert said == measured


def test_what_closing_in_float32_changes_is_what_the_stored_losses_say() -> None:
    rows = [json.loads(line) for line in (ROOT / "results" / "bf16_closing.jsonl").read_text().splitlines()]
    assert "\n".join(table(rows)) in (ROOT / "results" / "bf16_closing.md").read_text()
