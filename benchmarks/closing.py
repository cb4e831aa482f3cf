# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure the effect of computing the last steps of bf16 in float32 on the final loss of PGD.

    python -m benchmarks.closing --cifar10 CIFAR10 --slices SLICES --out results/bf16_closing.jsonl

The images differ from those of the page about speed; the base networks are the same. Losses in the file are not
measured again. Prints the table for ``results/bf16_closing.md``.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, build_case
from benchmarks.comparison import STEP_SIZE, double_copy, judge
from benchmarks.page import CLOSE
from monai_advenc.acceleration.prepare import prepare
from monai_advenc.experiments.paper.provenance import provenance_on
from monai_advenc.files.json_lines import append_lines, read_lines
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.perturbation.settings import PerturbationSettings

IMAGES = {"cifar10": slice(320, 512), "slices": slice(100, 196)}
"""Rows of the cases' images; the page about speed takes the first 320 and 20."""

BATCHES = {"cifar10": 32, "slices": 2}

REFERENCE = "float32, 100 steps"

CLOSED = ", closed by float32"
"""Suffix of a method's name, after the name of the method that it is compared with."""


def main() -> None:
    """Measure missing losses and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, help="CIFAR-10: folder or archive")
    parser.add_argument("--slices", type=Path, help="folder with train/<class>/ and test/<class>/")
    parser.add_argument("--bases", type=Path, default=Path("build/bases"), help="where trained base networks are kept")
    parser.add_argument("--out", type=Path, default=Path("build/bf16_closing.jsonl"), help="where the losses go")
    options = parser.parse_args()
    for name, source in (("cifar10", options.cifar10), ("slices", options.slices)):
        if source is not None:
            measure(build_case(name, source, options.bases, print), IMAGES[name], options.out)
    print("\n".join(table([json.loads(line) for line in read_lines(options.out)])))


def measure(case: Case, rows: slice, out: Path) -> None:
    """Perturb these images of a case by every method that is missing in the file, and append the losses."""
    done = {row["method"] for row in map(json.loads, read_lines(out)) if row["case"] == case.name}
    channels, height, width = case.images.shape[1:]
    shape = (channels, height, width)
    exact, closed = (prepare(case.network, shape, precision="fp32"), prepare(case.network, shape, precision="bf16"))
    alone = copy.deepcopy(closed)
    alone.closing_network = None
    paper = PerturbationSettings(radius=case.radius, step_size=STEP_SIZE, steps=100)
    cosine = paper.model_copy(update={"step_size": 2 * case.radius, "steps": 60, "schedule": "fast"})
    runs = {
        REFERENCE: (exact, paper),
        "bf16, 100 steps": (alone, paper),
        f"bf16, 100 steps{CLOSED}": (closed, paper),
        "bf16, cosine of 60": (alone, cosine),
        f"bf16, cosine of 60{CLOSED}": (closed, cosine),
    }
    images, targets, judging = case.images[rows], case.targets[rows], double_copy(case.network)
    for method, (network, settings) in runs.items():
        if method not in done:
            found = perturb_in_batches(network, images, targets, settings, batch_size=BATCHES[case.name])
            row = {"case": case.name, "method": method, "losses": judge(judging, found, targets)[0]}
            append_lines(out, [json.dumps(row | provenance_on("cpu"))])
            print(f"{case.name}: {method}", flush=True)


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Differences per image to float32's hundred steps, and of closed to not closed, as lines of Markdown."""
    lines = [
        f"| images | method | mean loss | difference to {REFERENCE} | largest | at most {CLOSE} higher | "
        "closed minus not closed |",
        "|---|---|---|---|---|---|---|",
    ]
    found = {(row["case"], row["method"]): row["losses"] for row in rows}
    for (case, method), losses in found.items():
        cells = [f"{len(losses)} of {case}", method, f"{statistics.mean(losses):.4f}", "", "", "", ""]
        if method != REFERENCE:
            differences = _differences(losses, found[case, REFERENCE])
            as_low = statistics.mean(each <= CLOSE for each in differences)
            cells[3:6] = [_mean_and_error(differences), f"{max(differences):+.3f}", f"{as_low:.0%}"]
        if method.endswith(CLOSED):
            cells[6] = _mean_and_error(_differences(losses, found[case, method.removesuffix(CLOSED)]))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _differences(losses: list[float], others: list[float]) -> list[float]:
    return [own - other for own, other in zip(losses, others, strict=True)]


def _mean_and_error(values: list[float]) -> str:
    return f"{statistics.mean(values):+.4f} ({statistics.stdev(values) / len(values) ** 0.5:.4f})"


if __name__ == "__main__":
    main()
