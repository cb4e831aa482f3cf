# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The figures of the documentation, each a function of the files in ``results/`` alone (of docstrings: the house)."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.closing import table as closing_table
from benchmarks.page import CLOSE, ratios_to_fastest_peer, reference_of
from scripts import documented_audits, documented_house, documented_tracing, reproduced_tables
from scripts.markdown import markdown_table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"

COMBINERS = {"basic": "Basic", "horizontal-concat": "Horizontal Concat"}
STEPS = {"plain": "plain steps", "augmentation-aware": "augmentation-aware steps"}
PAPER_RADIUS, TWICE = 0.4, 0.8
"""Radii at 64 pixels: the paper's change per pixel (44 dB), and twice that (38 dB)."""

PROCESSORS = {"avx512": "AMD EPYC (VNNI, AVX512_BF16)", "amx": "Intel Xeon (AMX)"}


def read_rows(name: str) -> list[dict[str, Any]]:
    """Read a file of JSON lines in ``results/``."""
    return [json.loads(line) for line in (RESULTS / name).read_text(encoding="utf-8").splitlines()]


def read_numbers(name: str) -> Any:
    """Read a JSON file in ``results/``."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def percent(shares: Sequence[float], spread: bool = False) -> str:
    """Mean of fractions in percent, with the sample standard deviation if asked."""
    values = [100 * share for share in shares]
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if spread else "") + " %"


def real_slices() -> str:
    """Networks trained on real MRI slices: all seeds and victims together."""
    rows = [row for row in read_rows("real_slices.jsonl") if "victims" in row and row["bits"] in (None, 16)]
    head = ["trained on"]
    head += [f"{column}, {budget}" for budget in ("38 dB", "44 dB") for column in ("Enc", "Orig", "Orig best epoch")]
    clean = _orig([row for row in rows if row["combiner"] is None])
    table = [["originals", "", *clean, "", *clean]]
    for combiner, name in COMBINERS.items():
        for steps, described in STEPS.items():
            cells = [f"{name}, {described}"]
            for radius in (TWICE, PAPER_RADIUS):
                group = [
                    row for row in rows if (row["combiner"], row["steps"], row["radius"]) == (combiner, steps, radius)
                ]
                enc = [victim["enc"]["last"] for row in group for victim in row["victims"].values()]
                cells += [percent(enc), *_orig(group)]
            table.append(cells)
    return markdown_table(head, table)


def _orig(group: Iterable[Mapping[str, Any]]) -> list[str]:
    """Accuracy on real images after the last epoch and after the best one."""
    victims = [victim["orig"] for row in group for victim in row["victims"].values()]
    return [percent([each["last"] for each in victims], spread=True), percent([each["peak"] for each in victims])]


def range_on_slices(test_set: str, radius: float, steps: Sequence[str] = tuple(STEPS)) -> str:
    """Lowest and highest mean accuracy of victims of real slices, over combiners and these kinds of steps."""
    rows = [row for row in read_rows("real_slices.jsonl") if row.get("bits") == 16 and row["radius"] == radius]
    groups = [
        [
            victim[test_set]["last"]
            for row in rows
            if (row["combiner"], row["steps"]) == cell
            for victim in row["victims"].values()
        ]
        for cell in product(COMBINERS, steps)
    ]
    means = [100 * statistics.mean(group) for group in groups]
    return f"{min(means):.0f} to {max(means):.0f} %"


def phantoms() -> str:
    """Networks trained on the demo's phantoms: all seeds and victims together."""
    victims = [victim for row in read_rows("demo_seeds.jsonl") for victim in row["victims"]]
    arms = {"clean": "originals", "paper": STEPS["plain"], "augmentation_aware": STEPS["augmentation-aware"]}
    table = []
    for arm, name in arms.items():
        found = [victim[arm] for victim in victims]
        enc = percent([each["enc"] for each in found], spread=True) if arm != "clean" else ""
        orig, peak = ([each[value] for each in found] for value in ("orig", "orig_peak"))
        table.append([name if arm == "clean" else f"Basic, {name}", enc, percent(orig, True), percent(peak, True)])
    return markdown_table(["trained on", "Enc", "Orig", "Orig, best epoch"], table)


def speed() -> str:
    """Speed against the fastest peer, and where the losses end."""
    methods = {
        "avx512": ("ours fp32", "ours bf16, not closed by fp32", "ours int8"),
        "amx": ("ours fp32", "ours bf16", "ours bf16 adaptive"),
    }
    table = []
    for case, images in (("cifar10", "CIFAR-10"), ("slices", "slices of 320x320")):
        for processor, names in methods.items():
            comparison = read_numbers(f"benchmarks/{processor}.json")[case]
            for name in names:
                ratios = ratios_to_fastest_peer(comparison)[name]
                differences = _differences(comparison, name)
                as_low = statistics.mean(each <= CLOSE for each in differences)
                cells = [images, PROCESSORS[processor], name.removeprefix("ours ")]
                cells += [f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"]
                table.append([*cells, f"{statistics.mean(differences):+.3f}", f"{100 * as_low:.0f} %"])
    head = ["images", "processor", "arithmetic, schedule", "times as fast (rounds)", "mean loss difference"]
    return markdown_table([*head, f"images at most {CLOSE} higher"], table)


def _differences(comparison: Mapping[str, Any], name: str) -> list[float]:
    """Final losses minus those of the fastest peer on the same images."""
    theirs = comparison["methods"][reference_of(dict(comparison))]["loss"]
    return [own - other for own, other in zip(comparison["methods"][name]["loss"], theirs, strict=True)]


def schedules() -> str:
    """Time and effect of the schedules against the paper's 100 steps."""
    timed = {
        ("fast", "25"): [("avx512", "slices", "ours int8", "fast-25"), ("amx", "slices", "ours bf16", "fast-25")],
        ("fast", "50"): [("avx512", "cifar10", "ours int8", "fast-50"), ("amx", "cifar10", "ours bf16", "fast-50")],
        ("adaptive", "at most 69"): [
            ("amx", "slices", "ours bf16", "adaptive"),
            ("amx", "cifar10", "ours bf16", "adaptive"),
        ],
    }
    measured = {
        "fast 25": ("fast_schedule.jsonl", "paper"),
        "fast 50": ("fast_schedule.jsonl", "paper"),
        "adaptive at most 69": ("plain_schedules.jsonl", "plain fp32"),
    }
    table = [["`paper`", "100", "1", "", ""]]
    for (name, steps), cases in timed.items():
        shares = sorted(_share_of_time(*case) for case in cases)
        file, reference = measured[f"{name} {steps}"]
        row = f"{name} {steps}" if name == "fast" else name
        effects = [_points(file, images, row, reference) for images in ("slices", "cifar10")]
        table.append([f"`{name}`", steps, f"{shares[0]:.2f} to {shares[1]:.2f}", *effects])
    head = ["`--schedule`", "steps", "time", "slices: Orig, points (SE)", "CIFAR-10: Orig, points (SE)"]
    return markdown_table(head, table)


def _share_of_time(processor: str, case: str, reference: str, name: str) -> float:
    """Median over rounds of the time of a schedule over that of 100 steps in the same arithmetic."""
    methods = read_numbers(f"benchmarks/{processor}.json")[case]["methods"]
    pairs = zip(methods[f"{reference} {name}"]["seconds"], methods[reference]["seconds"], strict=True)
    return statistics.median(own / paper for own, paper in pairs)


def _points(file: str, images: str, schedule: str, reference: str) -> str:
    """Accuracy of victims on originals minus that after the paper's steps: mean over seeds, and its standard error."""
    rows = [row for row in read_rows(file) if row["images"] == images and "victims" in row]
    found = {(row["schedule"], row["seed"]): row["victims"] for row in rows}
    seeds = sorted(seed for name, seed in found if name == schedule)
    if not seeds:
        return "not measured"
    means = [
        statistics.mean(
            100 * (found[schedule, seed][victim]["orig"] - found[reference, seed][victim]["orig"])
            for victim in found[schedule, seed]
        )
        for seed in seeds
    ]
    return f"{statistics.mean(means):+.1f} ({statistics.stdev(means) / len(means) ** 0.5:.1f})"


def memory() -> str:
    """Peak memory of encryption."""
    table: dict[int, list[str]] = {}
    for run in read_numbers("scale/memory.json")["runs"]:
        table.setdefault(run["images"], []).extend((str(run["main_mib"]), str(run["worker_mib"])))
    head = ["images", "encrypt: main process", "a worker", "the same command again: main process", "a worker"]
    return markdown_table(head, [[f"{images:,}", *cells] for images, cells in table.items()])


def error_rates() -> str:
    """Highest rates of false positives of the reader study's tests, over scenarios at the margin."""
    numbers = read_numbers("reader_study_error_rates.json")
    rows = [row for row in numbers["rows"] if row["loss"] == row["margin"]]
    tests = {
        "both, the more cautious (what `score` applies)": "applied",
        "Obuchowski and Rockette alone": "obuchowski_rockette",
        "Tango on as many pairs as the readings are worth, alone": "tango_thinned",
    }
    head = ["test for several readers", f"highest rate of false positives, {len(rows)} scenarios"]
    return markdown_table(head, [[name, percent([max(row[key] for row in rows)])] for name, key in tests.items()])


FIGURES: Mapping[str, Callable[[], str]] = {
    "real-slices": real_slices,
    "kept-augmentation-aware": partial(range_on_slices, "orig", PAPER_RADIUS, ["augmentation-aware"]),
    "kept-plain": partial(range_on_slices, "orig", PAPER_RADIUS, ["plain"]),
    "enc-44-db": partial(range_on_slices, "enc", PAPER_RADIUS),
    "orig-44-db": partial(range_on_slices, "orig", PAPER_RADIUS),
    "enc-38-db": partial(range_on_slices, "enc", TWICE),
    "orig-38-db": partial(range_on_slices, "orig", TWICE),
    "phantoms": phantoms,
    "speed": speed,
    "schedules": schedules,
    "memory": memory,
    "error-rates": error_rates,
    "bf16-closing": lambda: "\n".join(closing_table(read_rows("bf16_closing.jsonl"))),
    "house": documented_house.draw,
    **documented_audits.FIGURES,
    **documented_tracing.FIGURES,
    **reproduced_tables.FIGURES,
}
"""Each figure of the documentation by its name, but for those of the page about speed."""
