# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Check what a device computes: exactly, repeatably, and image by image."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor

from monai_advenc.acceleration.arithmetic import exact_arithmetic
from monai_advenc.acceleration.gradients import target_gradient
from monai_advenc.acceleration.prepare import PreparedNetwork, prepare
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.experiments.doctor.checks import Bench, Check, Values
from monai_advenc.perturbation.geometry import l2_length
from monai_advenc.perturbation.views import Augmentation


def _prepared(bench: Bench, precision: str) -> PreparedNetwork:
    shape = (3, bench.side, bench.side)
    return prepare(bench.network, shape, precision=precision, steps=25)  # type: ignore[arg-type]  # One of them.


def check_exactness(bench: Bench) -> Values:
    """Error of gradients relative to float64, with and without our flags, and their time."""
    count = 8 if bench.tiny else 256
    images, targets = bench.images(count), bench.targets(count)
    exact = target_gradient(copy.deepcopy(bench.network).double(), images.double(), targets)
    found: dict[str, float] = {}
    for precision in ("fp32", "bf16"):
        network = _prepared(bench, precision)
        for name, device in (("pinned", bench.device), ("as PyTorch has it", torch.device("cpu"))):
            with exact_arithmetic(device):
                gradient = target_gradient(network, images, targets).double()
                found[f"{precision} {name} ms"] = bench.milliseconds(partial(target_gradient, network, images, targets))
            found[f"{precision} {name} error"] = float(f"{((gradient - exact).norm() / exact.norm()).item():.2e}")
    return found


def check_repetition(bench: Bench) -> Values:
    """How many of the same calls give other bytes."""
    images, targets = bench.images(64), bench.targets(64)
    found = {}
    for precision in ("fp32", "bf16"):
        network = _prepared(bench, precision)
        with exact_arithmetic(bench.device):
            first = target_gradient(network, images, targets)
            calls = 3 if bench.tiny else 20
            found[precision] = sum(
                not torch.equal(first, target_gradient(network, images, targets)) for _ in range(calls)
            )
    return found


def check_rows(bench: Bench) -> Values:
    """How many gradients depend on their place in the batch, their neighbors, or the batch's size."""
    count = 8 if bench.tiny else 256
    images, targets = bench.images(count), bench.targets(count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1)).to(bench.device)
    others = torch.where(torch.arange(count, device=bench.device).view(-1, 1, 1, 1) % 2 == 1, images.flip(0), images)
    found = {}
    for precision in ("fp32", "bf16"):
        network = _prepared(bench, precision)
        with exact_arithmetic(bench.device):
            usual = target_gradient(network, images, targets)
            found[f"{precision} place"] = _differing(
                usual[order], target_gradient(network, images[order], targets[order])
            )
            beside = target_gradient(network, others, targets)
            found[f"{precision} neighbors"] = _differing(usual[::2], beside[::2])
            for size in (size for size in bench.sizes if size < count):
                parts = [
                    target_gradient(network, *part)
                    for part in zip(images.split(size), targets.split(size), strict=True)
                ]
                found[f"{precision} size {size}"] = _differing(usual, torch.cat(parts))
    return {**found, "of": count}


def check_lengths(bench: Bench) -> Values:
    """How many lengths of rows depend on the batch."""
    found = {}
    for count, numbers in ((256, 3072), (16, 102_400)):
        rows = torch.randn(count, numbers, generator=torch.Generator().manual_seed(0)).to(bench.device) * 0.01
        alone = torch.cat([l2_length(row[None]) for row in rows])
        found[f"{count} x {numbers}"] = int((alone != l2_length(rows)).sum())
    return found


def check_encryption(bench: Bench) -> Values:
    """How many images differ between alone and together, for every grid."""
    names, count = tuple(map(str, range(bench.classes))), 4 if bench.tiny else 24
    images, labels = bench.images(count), bench.targets(count)
    plan = bench.settings(3 if bench.tiny else 20, augmentation=Augmentation())
    found = {}
    for combiner in ("horizontal-concat", "mixup-and-concat"):
        key = EncryptionKey.draw(names, plan, combiner=combiner, seed=1)
        network = _prepared(bench, "bf16")
        for levels in (255, 65535, None):
            together = encrypt_batch(key, network, images, labels, levels=levels, batch_size=64)
            picked = range(0, count, 2 if bench.tiny else 8)
            alone = [
                encrypt_batch(key, network, images[row : row + 1], labels[row : row + 1], levels=levels, batch_size=64)
                for row in picked
            ]
            found[f"{combiner} {levels or 'float32'}"] = _differing(together[list(picked)], torch.cat(alone))
    return {**found, "of": len(range(0, count, 2 if bench.tiny else 8))}


def _differing(first: Tensor, second: Tensor) -> int:
    return int((first != second).flatten(1).any(dim=1).sum())


CHECKS: dict[str, Check] = {
    "1 exact gradients": check_exactness,
    "2 the same call twice": check_repetition,
    "3 rows of a batch": check_rows,
    "4 lengths": check_lengths,
    "5 encryption alone and together": check_encryption,
}
