# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Describe a machine in one page that people can paste into a report: no name, no path, nothing secret."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from monai_advenc.acceleration.convolutions.integer import computes_in_int8
from monai_advenc.acceleration.hardware import Hardware
from monai_advenc.acceleration.prepare import Precision, prepare
from monai_advenc.acceleration.processor import choose_device, computes_in_bf16, multiplies_tiles
from monai_advenc.data.manifest import software_versions
from monai_advenc.errors import DeviceMemoryError
from monai_advenc.networks import get_network
from monai_advenc.perturbation.batch_size import BatchSize
from monai_advenc.workers import available_cores

OPTIONAL = ("ray", "mlflow", "highdicom", "pylibjpeg-libjpeg", "matplotlib")
"""Packages that some commands need."""

Rows = Iterable[tuple[str, str]]

TRIED_SIDE = 160
"""Largest side in pixels at which a precision is tried: at 320 a CPU would need half a minute."""


def describe_machine(device: str | None = None, side: int = 320, network: str = "resnet18") -> Rows:
    """Describe the machine as far as it decides speed and bytes; each row as soon as it is known.

    Args:
        device: Where networks would run; ``None``: the GPU, if there is one.
        side: Side of the images in pixels.
        network: Architecture whose precision is tried, with random weights.

    Returns:
        Names and values, in the order of the page.

    Raises:
        SettingsError: There is no such device.
    """
    return _rows(torch.device(choose_device(device)), side, network)


def _rows(place: torch.device, side: int, network: str) -> Iterator[tuple[str, str]]:
    batch, tried = BatchSize.on(place.type), min(side, TRIED_SIDE)
    yield from software_versions().items()
    yield "system", f"{platform.system()} {platform.machine()}"
    yield "processor", f"{_processor_name()}, {available_cores()} cores for this process"
    yield "arithmetic of the processor", _arithmetic()
    yield "GPUs", _gpus()
    yield "device", Hardware.of(place).name
    yield f"precision of {network}, tried at {tried} x {tried}", _precision(network, (1, tried, tried), place)
    yield f"images at a time at {side} x {side}", f"{batch.of((1, side, side))} ({_why(batch)})"
    yield "free space here", _gibibytes(shutil.disk_usage(Path.cwd()).free)
    yield "free space for temporary files", _gibibytes(shutil.disk_usage(tempfile.gettempdir()).free)
    yield from ((name, _version_of(name)) for name in OPTIONAL)
    yield "Ray cluster in the environment", "yes" if os.environ.get("RAY_ADDRESS") else "no"


def lines_of(title: str, rows: Rows) -> Iterator[str]:
    """The lines of a table in Markdown, each as soon as its row is there."""
    yield from (f"## {title}", "", "| | |", "|---|---|")
    yield from (f"| {name} | {value.replace('|', '/')} |" for name, value in rows)
    yield ""


def page_of(title: str, rows: Rows) -> str:
    """A table in Markdown."""
    return "\n".join(lines_of(title, rows))


def _processor_name() -> str:
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or "unknown processor"


def _arithmetic() -> str:
    bf16, int8 = computes_in_bf16(torch.device("cpu")), computes_in_int8()
    parts = [
        torch.backends.cpu.get_cpu_capability(),
        f"bf16 {'on AMX' if multiplies_tiles() else 'on AVX512_BF16' if bf16 else 'not supported'}",
        f"int8 {'with exact sums' if int8 else 'not supported'}",
    ]
    return ", ".join(parts)


def _gpus() -> str:
    if not torch.cuda.is_available():
        return "none for PyTorch"
    found = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        capability = ".".join(map(str, torch.cuda.get_device_capability(number)))
        memory = f"{_gibibytes(free)} of {_gibibytes(total)} free"
        found.append(f"{torch.cuda.get_device_name(number)} (capability {capability}, {memory})")
    return "; ".join(found)


def _precision(network: str, shape: tuple[int, int, int], place: torch.device) -> str:
    built = get_network(network, 5, shape[0], shape[1], seed=0).eval().to(place)
    try:
        chosen = prepare(built, shape).precision
    except DeviceMemoryError as error:
        return str(error)
    faster: dict[Precision, str] = {
        "int8": "the fastest that the processor has",
        "bf16": "the device has bf16, and it is the faster one of those whose gradients agree",
    }
    reason = faster.get(chosen, "the device has nothing faster, or its gradients do not agree with float32")
    return f"{chosen}: {reason} (random weights; a trained network or larger images may differ)"


def _why(batch: BatchSize) -> str:
    return "all CPUs" if batch.fixed is not None else "by the rule for GPUs"


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
