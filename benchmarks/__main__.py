# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""How much preparing a network for PGD gains: ratios from one interleaved run, on one thread.

    python -m benchmarks

Seconds depend on the machine and on what else it does; the ratio of two things measured in turn does much less, so
only ratios are printed. The final loss is compared first: a faster result must be the same result.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration import prepare
from monai_advenc.networks import get_network
from monai_advenc.perturbation import PerturbationSettings, perturb

REPEATS = 7
STEPS = 5
CASES = (("resnet_small", 1, 64, 16), ("resnet18", 3, 32, 16), ("resnet18", 1, 224, 4))
"""Network, channels, image side, images in a batch."""


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    table = Table(title=f"Speed of {STEPS} PGD steps against the plain network, median of {REPEATS} (min to max)")
    for column in ("network", "images", "prepared fp32", "prepared bf16", "loss, plain", "loss, fp32", "loss, bf16"):
        table.add_column(column)
    for name, channels, side, batch in CASES:
        table.add_row(*measure_case(name, channels, side, batch))
    Console().print(table)


def measure_case(name: str, channels: int, side: int, batch: int) -> list[str]:
    """One row of the table."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, channels, side, side, generator=generator)
    targets = torch.arange(batch) % 5
    plain = with_running_statistics(get_network(name, 5, channels, side), images)
    settings = PerturbationSettings(radius=2, step_size=0.4, steps=STEPS, reference_side=320)
    networks = {
        "plain": plain,
        "fp32": prepare(plain, (channels, side, side), precision="fp32"),
        "bf16": prepare(plain, (channels, side, side), precision="bf16"),
    }
    runs = {key: lambda n=network: perturb(n, images, targets, settings) for key, network in networks.items()}
    losses = {key: final_loss(plain, run(), targets) for key, run in runs.items()}
    ratios = interleaved_ratios(runs, REPEATS)
    return [
        name,
        f"{batch} x {channels} x {side} x {side}",
        *(f"{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in (ratios["fp32"], ratios["bf16"])),
        *(f"{losses[key]:.4f}" for key in ("plain", "fp32", "bf16")),
    ]


def with_running_statistics(network: nn.Module, images: Tensor) -> nn.Module:
    """The network in evaluation mode, its batch norm having seen images once."""
    with torch.no_grad():
        network.train()(images)
    return network.eval()


def final_loss(network: nn.Module, perturbed: Tensor, targets: Tensor) -> float:
    """Cross entropy toward the targets by the plain network."""
    with torch.no_grad():
        return functional.cross_entropy(network(perturbed), targets).item()


def interleaved_ratios(runs: dict[str, Callable[[], Tensor]], repeats: int) -> dict[str, list[float]]:
    """How many times faster than the plain network each run is, pair by pair."""
    ratios: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(repeats):
        seconds = {}
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[key] = time.perf_counter() - start
        for key in runs:
            ratios[key].append(seconds["plain"] / seconds[key])
    return ratios


if __name__ == "__main__":
    main()
