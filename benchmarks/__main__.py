# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""How much faster encryption gets by preparing the network: ``python -m benchmarks``.

Every round times all ways one after the other, so that what else the machine does hits all alike; only ratios within
a round are compared; images per second depend on the machine and are printed for orientation. Weights are random:
what a network has learned does not change its speed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from monai_advenc.acceleration import computes_in_bf16, prepare
from monai_advenc.encryption import BATCH_SIZE, encrypt_batch
from monai_advenc.key import EncryptionKey
from monai_advenc.networks import get_network
from monai_advenc.perturbation import PerturbationSettings

ROUNDS = 5

CLASSES = ("meningioma", "chordoma", "schwannoma", "pituitary adenoma", "craniopharyngioma")

WAYS: dict[str, Callable[[nn.Module, tuple[int, int, int]], nn.Module]] = {
    "as trained": lambda network, shape: network,
    "prepared, fp32": lambda network, shape: prepare(network, shape, precision="fp32"),
    "prepared, bf16": lambda network, shape: prepare(network, shape, precision="bf16"),
}
"""The first is what the others are compared with: the network in evaluation mode, nothing else done to it. Encryption
takes bf16 by itself where the processor computes in it and the trained network's gradients agree with fp32."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A base network and images of one size; two targets an image, as in Horizontal Concat."""

    network: str
    side: int
    images: int
    steps: int


CASES = (
    Case(network="resnet_small", side=64, images=4 * BATCH_SIZE, steps=16),
    Case(network="resnet18", side=320, images=BATCH_SIZE // 2, steps=2),
)


def seconds_of_rounds(case: Case) -> dict[str, list[float]]:
    """Seconds of each way in each round, without a first round that warms everything up."""
    shape = (1, case.side, case.side)
    network = get_network(case.network, len(CLASSES), 1, case.side, seed=0).eval()
    ways = dict(WAYS)
    if not computes_in_bf16(torch.device("cpu")):
        del ways["prepared, bf16"]  # It would be emulated, and encryption would never choose it.
    networks = {name: way(network, shape) for name, way in ways.items()}
    key = EncryptionKey.draw(CLASSES, PerturbationSettings(radius=2.0, step_size=0.1, steps=case.steps), seed=0)
    images = torch.rand(case.images, *shape, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(case.images) % len(CLASSES)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for round_number in range(ROUNDS + 1):
        for name, prepared in networks.items():
            start = time.perf_counter()
            encrypt_batch(key, prepared, images, labels)
            if round_number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Print one table for each case."""
    torch.set_num_threads(1)  # As in each worker process.
    for case in CASES:
        print(
            f"{case.network}, {case.side}x{case.side} pixels, {case.images} images, 2 targets, {case.steps} steps, "
            f"1 thread, {ROUNDS} rounds"
        )
        seconds = seconds_of_rounds(case)
        reference = next(iter(seconds.values()))
        for name, values in seconds.items():
            ratios = [slow / fast for slow, fast in zip(reference, values, strict=True)]
            rate = case.images / statistics.median(values)
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"  {name:<16} {rate:8.2f} images/s   {statistics.median(ratios):5.2f} times ({spread})")


if __name__ == "__main__":
    main()
