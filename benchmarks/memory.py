# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure whether memory grows with the number of images: peak RSS of ``encrypt``, its workers, and a second run.

    python -m benchmarks.memory [--images 1000 20000] [--workers 2] [--json memory.json]

The second run has nothing left to encrypt. Images are 32x32 with one step of PGD, because only the memory that remains
per image matters here. Workers are forked, so their RSS includes the parent's pages.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint
from monai_advenc.perturbation.settings import PerturbationSettings

CLASSES = ("glioma", "meningioma")
SIDE = 32
PROGRAM = (sys.executable, "-c", "from monai_advenc.cli import main; main()")


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 20000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [row for count in options.images for row in measure(count, options.workers)]
    text = json.dumps({"python": platform.python_version(), "torch": torch.__version__, "runs": rows}, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


def measure(count: int, workers: int) -> list[dict[str, object]]:
    """Encrypt ``count`` images, then run the same command again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_world(folder, count)
        key = ("--key", str(folder / "key.json"), "--base", str(folder / "base.pt"))
        command = (*PROGRAM, "encrypt", str(folder / "images"), *key, "--out", str(folder / "out"))
        runs = {run: peaks((*command, "--workers", str(workers))) for run in ("encrypt", "check")}
    return [{"images": count, "run": run, **found} for run, found in runs.items()]


def write_world(folder: Path, count: int) -> None:
    """Write random images, a key, and an untrained base network."""
    dice = np.random.default_rng(0)
    for index in range(count):
        place = folder / "images" / CLASSES[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dice.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(place / f"case-{index:07d}.png")
    network = get_network("resnet_small", len(CLASSES), 1, SIDE, seed=0).eval()
    save_checkpoint(folder / "base.pt", network, "resnet_small", CLASSES, 1, SIDE)
    settings = PerturbationSettings(radius=2, step_size=2, steps=1, reference_side=320)
    EncryptionKey.draw(CLASSES, settings, combiner="basic", seed=1).save(folder / "key.json")


def peaks(command: tuple[str, ...]) -> dict[str, object]:
    """Peak RSS in MiB of a command and of its largest worker, and its seconds."""
    begin = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    main_peak, worker_peak = 0, 0
    while process.poll() is None:
        main_peak = max(main_peak, peak_rss(process.pid))
        worker_peak = max([worker_peak, *(peak_rss(child) for child in children_of(process.pid))])
        time.sleep(0.1)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    mib = {"main_mib": main_peak / 1024, "worker_mib": worker_peak / 1024, "seconds": time.monotonic() - begin}
    return {name: round(value) for name, value in mib.items()}


def peak_rss(pid: int) -> int:
    """Peak resident set so far in KiB; 0 for a process that ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def children_of(pid: int) -> list[int]:
    """Child processes of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


if __name__ == "__main__":
    main()
