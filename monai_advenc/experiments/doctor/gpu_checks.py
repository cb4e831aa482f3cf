# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Run all checks of a GPU, and write what they found: ``gpu.json`` and a page."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.errors import OutputError, SettingsError
from monai_advenc.experiments.doctor import numerics, speed, whole_runs
from monai_advenc.experiments.doctor.checks import Bench, run_checks
from monai_advenc.experiments.doctor.machine import Rows, describe_machine, page_of
from monai_advenc.files.atomic import write_atomically, write_json
from monai_advenc.progress import Progress

JSON_NAME, PAGE_NAME = "gpu.json", "gpu.md"


@dataclass(frozen=True)
class Checked:
    """Where the results of the checks are, and which checks failed."""

    results: Path
    page: Path
    failed: tuple[str, ...]


def check_gpu(out: Path, progress: Progress, *, device: str | None = None, tiny: bool = False) -> Checked:
    """Check how a GPU computes: numbers, speed, whole runs. Takes about six minutes on a large GPU.

    Nothing changes the settings of the card.

    Args:
        out: Folder to write into; files are never overwritten.
        progress: Receives a line for each check.
        device: The device; ``None``: the GPU.
        tiny: Only see that the checks run, on any device.

    Raises:
        OutputError: The files exist or cannot be written.
        SettingsError: There is no GPU, or no such device.
    """
    place = torch.device(choose_device(device))
    if place.type == "cpu" and not tiny:
        raise SettingsError("there is no GPU for PyTorch on this machine; to see that the checks run, give --tiny cpu")
    taken = next((out / name for name in (JSON_NAME, PAGE_NAME) if (out / name).exists()), None)
    if taken is not None:
        raise OutputError(f"{taken} exists already and is never overwritten; give another --out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Checks provoke what PyTorch warns of.
        bench = Bench(place, tiny)
        found = run_checks(bench, {**numerics.CHECKS, **speed.CHECKS, **whole_runs.CHECKS}, progress)
    machine = [*describe_machine(str(place), bench.side, "resnet_small" if tiny else "resnet18")]
    write_json(out / JSON_NAME, {"tiny": tiny, "machine": dict(machine), "checks": found})
    parts = [page_of("Machine", machine), *(page_of(name, _rows(values)) for name, values in found.items())]
    write_atomically(out / PAGE_NAME, ("# Checks of a GPU\n\n" + "\n".join(parts)).encode())
    return Checked(out / JSON_NAME, out / PAGE_NAME, tuple(name for name, each in found.items() if "failed" in each))


def _rows(values: dict[str, object]) -> Rows:
    return [(name, str(value)) for name, value in values.items()]
