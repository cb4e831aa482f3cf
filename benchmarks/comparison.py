# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Run all methods interleaved on the same images: measure seconds and compare the results.

In every round each method perturbs the same block of images, in a rotating order, and the next round uses the next
block. So other load of the machine affects all methods alike, and the losses are of many images. Ratios are relative to
the fastest peer. A peer far behind it would take most of the time and is left out after the first round.

Adaptive steps fill batches from many images, as in a folder of files. Therefore they perturb the images of all rounds
together in every round, and their seconds are divided by the number of rounds.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.cases import Case
from benchmarks.peers import PEERS, installed_peers, run_quietly
from monai_advenc.acceleration.prepare import Precision, prepare
from monai_advenc.acceleration.processor import computes_in_bf16
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.perturbation.settings import ADAPTIVE_STEPS, PerturbationSettings

STEP_SIZE = 0.1
"""The paper's step size, at either radius."""

ADAPTIVE = "adaptive"
"""Part of the names of methods with adaptive steps."""

LEFT_BEHIND = 1.25
"""A peer that takes this many times as long as the fastest in the first round is not run again."""

Method = Callable[[Tensor, Tensor], Tensor]


def methods_of(
    case: Case, steps: int, fast_steps: tuple[int, ...], adaptive_batch: int
) -> dict[str, tuple[Method, PerturbationSettings]]:
    """All methods by name: peers and ours in the paper's schedule, then ours in fewer steps."""
    paper = PerturbationSettings(radius=case.radius, step_size=STEP_SIZE, steps=steps)
    channels, height, width = case.images.shape[1:]
    shape = (channels, height, width)
    found: dict[str, tuple[Method, PerturbationSettings]] = {}
    for name in installed_peers():
        found[name] = (lambda x, t, name=name: run_quietly(PEERS[name], case.network, x, t, paper), paper)
    for precision in _precisions_of(case, shape):
        network = prepare(case.network, shape, precision=precision)
        found[f"ours {precision}"] = (_ours(network, paper), paper)
    for count in fast_steps:
        fast = PerturbationSettings(radius=case.radius, step_size=2 * case.radius, steps=count, schedule="fast")
        found[f"ours {precision} fast-{count}"] = (_ours(network, fast), fast)
    if fast_steps:
        adaptive = PerturbationSettings(
            radius=case.radius, step_size=2 * case.radius, steps=min(steps, ADAPTIVE_STEPS), schedule="adaptive"
        )
        found[f"ours {precision} {ADAPTIVE}"] = (_ours(network, adaptive, adaptive_batch), adaptive)
    return found


def _precisions_of(case: Case, shape: tuple[int, int, int]) -> list[Precision]:
    """Precisions with native support, fastest last; int8 only if the network's gradients agree."""
    precisions: list[Precision] = ["fp32"]
    if computes_in_bf16(case.images.device):
        precisions.append("bf16")
    if prepare(case.network, shape).precision == "int8":
        precisions.append("int8")
    return precisions


def _ours(network: nn.Module, settings: PerturbationSettings, batch_size: int | None = None) -> Method:
    def run(images: Tensor, targets: Tensor) -> Tensor:
        part = -(-len(images) // torch.get_num_threads())  # A block is divided among the threads; a peer gets it whole.
        return perturb_in_batches(network, images, targets, settings, batch_size=batch_size or part)

    return run


def compare(
    case: Case,
    *,
    steps: int,
    fast_steps: tuple[int, ...],
    rounds: int,
    batch: int,
    adaptive_batch: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Run all methods ``rounds`` times in turn; return plain values for JSON."""
    methods = methods_of(case, steps, fast_steps, adaptive_batch)
    exact = double_copy(case.network)
    for method, _ in methods.values():
        method(*(part[:1] for part in case.block(0, 1)))  # Preparation on first use does not count.
    results: dict[str, dict[str, Any]] = {
        name: {"steps": settings.steps, "seconds": [], "loss": [], "success": [], "l2_max": 0.0}
        for name, (_, settings) in methods.items()
    }
    names = list(methods)
    for number in range(rounds):
        for name in _rotated(names, number):
            together = rounds if ADAPTIVE in name else 1
            images, targets = case.block(number if together == 1 else 0, batch * together)
            start = time.perf_counter()
            perturbed = methods[name][0](images, targets)
            seconds = (time.perf_counter() - start) / together
            result = results[name]
            result["seconds"].append(round(seconds, 4))
            if len(result["loss"]) == rounds * batch:  # Adaptive steps perturbed all images in the first round.
                continue
            losses, success = judge(exact, perturbed, targets)
            result["loss"] += losses
            result["success"] += success
            result["l2_max"] = max(result["l2_max"], (perturbed - images).double().flatten(1).norm(dim=1).max().item())
        say(f"{case.name}: round {number + 1} of {rounds}")
        if number == 0:
            names = leave_behind({name: results[name]["seconds"][0] for name in names})
    return {
        "case": case.name,
        "shape": list(case.images.shape[1:]),
        "radius": case.radius,
        "base_accuracy": case.accuracy,
        "base_epochs": case.epochs,
        "steps": steps,
        "batch": batch,
        "rounds": rounds,
        "methods": results,
    }


def leave_behind(seconds: dict[str, float]) -> list[str]:
    """Methods to run again, from the time that each took in one round."""
    fastest = min((taken for name, taken in seconds.items() if name in PEERS), default=0.0)
    return [name for name, taken in seconds.items() if name not in PEERS or taken < LEFT_BEHIND * fastest]


def _rotated(names: list[str], number: int) -> list[str]:
    first = number % len(names)
    return names[first:] + names[:first]


def double_copy(network: nn.Module) -> nn.Module:
    """Copy the plain network in float64, to evaluate all results in the same way."""
    return copy.deepcopy(network).double().eval()


@torch.no_grad()
def judge(exact: nn.Module, perturbed: Tensor, targets: Tensor) -> tuple[list[float], list[bool]]:
    """Cross entropy toward the targets, and whether each image is classified as its target."""
    losses: list[float] = []
    success: list[bool] = []
    for rows in torch.arange(len(perturbed)).split(8):
        logits = exact(perturbed[rows].double())
        found = functional.cross_entropy(logits, targets[rows], reduction="none").tolist()
        losses += [round(loss, 6) for loss in found]
        success += (logits.argmax(dim=1) == targets[rows]).tolist()
    return losses, success
