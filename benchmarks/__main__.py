# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare the speed of perturbation with torchattacks, Foolbox and ART: ratios from one interleaved run.

    python -m benchmarks --cifar10 CIFAR10 --slices SLICES --out results/benchmarks/NAME.json

CIFAR10 is CIFAR-10 as its authors publish it, SLICES a folder with train/<class>/ and test/<class>/. Base networks are
trained on them once and kept in --bases. Without the images the networks are untrained: ratios of equal steps hold, but
the losses of the fast schedule are meaningless. On two idle cores it takes half an hour without the images, and two and
a half hours with them, half of it training. Finished measurements are kept, and the same command continues. --quick
takes a minute.

Seconds depend on the machine and its other load; the ratio of two methods measured in turn depends on them much less.
The page is drawn from the stored numbers only: python -m benchmarks --draw results/benchmarks
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import build_case, untrained_case
from benchmarks.comparison import compare
from benchmarks.growth import measure_growth, measure_pipeline, measure_training
from benchmarks.page import draw_page
from benchmarks.peers import installed_peers
from benchmarks.recovery import measure_recovery
from monai_advenc.acceleration.processor import computes_in_bf16, multiplies_tiles
from monai_advenc.data.manifest import software_versions
from monai_advenc.experiments.paper.provenance import provenance_on
from monai_advenc.files.atomic import write_json

BATCHES = {"cifar10": 64, "slices": 4}
ADAPTIVE_BATCHES = {"cifar10": 16, "slices": 2}
FAST_STEPS = {"cifar10": (20, 30, 40, 50, 60), "slices": (10, 15, 20, 25)}


def main() -> None:
    """Measure missing parts, store each, and draw the page."""
    options = _options()
    if options.draw is None:
        torch.set_num_threads(options.threads)
        _measure_missing(options)
    for path in draw_page(options.draw or options.out, options.page):
        print(f"wrote {path}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar10", type=Path, help="CIFAR-10: folder or archive")
    parser.add_argument("--slices", type=Path, help="folder with train/<class>/ and test/<class>/")
    parser.add_argument("--bases", type=Path, default=Path("build/bases"), help="where trained base networks are kept")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks.json"), help="where the numbers go")
    parser.add_argument("--page", type=Path, default=Path("build/benchmarks.md"), help="where the page goes")
    parser.add_argument(
        "--draw", type=Path, metavar="PATH", help="only draw the page, from this file or folder of numbers"
    )
    parser.add_argument("--rounds", type=int, default=5, help="number of measurements of each method")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="tiny networks and few steps, to see that all of it works")
    return parser.parse_args()


def _measure_missing(options: argparse.Namespace) -> None:
    frame = {
        "quick": options.quick,
        "rounds": options.rounds,
        "environment": {
            "threads": options.threads,
            "cores": os.cpu_count(),
            "processor": _processor(),
            "bf16": _bf16(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "software": {**software_versions(), **installed_peers()},
        },
    }
    content: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else dict(frame)
    if {name: content.get(name) for name in frame} != frame:
        raise SystemExit(f"{options.out} was measured with other options or versions; move it, or give another --out")
    parts: dict[str, Callable[[], object]] = {
        "cifar10": lambda: _compare("cifar10", options.cifar10, options),
        "slices": lambda: _compare("slices", options.slices, options),
        "growth": lambda: measure_growth(options.quick, options.rounds, _say),
        "pipeline": lambda: measure_pipeline(options.quick, options.rounds, _say),
        "training": lambda: measure_training(options.quick, options.rounds, _say),
        "recovery": lambda: measure_recovery(options.quick, options.rounds, _say),
    }
    for name, measure in parts.items():
        if name not in content:
            content[name] = measure()
            content.setdefault("commits", {})[name] = provenance_on("cpu")["commit"]
            write_json(options.out, content, overwrite=True)
            _say(f"{name}: stored in {options.out}")


def _compare(name: str, source: Path | None, options: argparse.Namespace) -> dict[str, Any]:
    if options.quick:
        case = untrained_case(name, "resnet_small", side=32, count=8)
        return compare(case, steps=4, fast_steps=(2,), rounds=options.rounds, batch=4, adaptive_batch=2, say=_say)
    case = build_case(name, source, options.bases, _say)
    # Without trained weights, a hundred steps show nothing more than ten.
    steps, fast = (100, FAST_STEPS[name]) if source else (10, ())
    return compare(
        case,
        steps=steps,
        fast_steps=fast,
        rounds=options.rounds,
        batch=BATCHES[name],
        adaptive_batch=ADAPTIVE_BATCHES[name],
        say=_say,
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _bf16() -> str | None:
    """Name of the processor's bf16 arithmetic."""
    if not computes_in_bf16(torch.device("cpu")):
        return None
    return "bf16 in tiles (AMX)" if multiplies_tiles() else "bf16 in vectors"


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
