# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Perturb many images in batches of one size, several batches at a time on a CPU with several cores.

Cores that share a batch wait for each other after every layer; cores with separate batches do not. As long as each core
has its own batch, the result does not depend on the number of cores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.processor import to_device
from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.objectives import Objective, as_objective
from monai_advenc.perturbation.pgd import check_inputs, perturb
from monai_advenc.perturbation.settings import PerturbationSettings

MOST_BATCHES_AT_A_TIME = 8
"""Each batch needs its own memory; with more cores than this, several cores share a batch."""

MOST_BATCHES_TOGETHER = 32
"""Number of batches from which adaptive steps choose their images; more would hardly fill batches better."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def perturb_in_batches(
    network: nn.Module,
    images: Tensor,
    targets: Tensor | Objective,
    settings: PerturbationSettings,
    *,
    batch_size: int,
    seeds: Sequence[int] | None = None,
    regions: Tensor | None = None,
    scales: Tensor | None = None,
    start: Tensor | None = None,
    moves: Tensor | None = None,
) -> Tensor:
    """Apply :func:`monai_advenc.perturbation.pgd.perturb` to any number of images.

    Args:
        network: In evaluation mode. Several threads use it at once if its attribute ``stateless`` is true, as for
            networks from :func:`monai_advenc.acceleration.prepare.prepare` whose graph is known.
        images: ``(N, C, H, W)``, float32 in [0, 1].
        targets: Target classes ``(N,)``, int64; or any other objective for these images.
        settings: Radius, steps and norm.
        batch_size: Images per pass through the network. The last batch is padded to this size, because a processor may
            choose another summation order for another size. Adaptive steps fill batches from all images that need
            more steps, so they save passes only if there are many more images than this.
        seeds: One seed per image, for augmentation-aware steps.
        regions: Binary masks ``(N, 1, H, W)`` of the pixels that may change.
        scales: ``(N,)``: factor of radius and step size for each image; ``None``: 1.
        start: Images to continue from, inside the balls; ``None``: the originals.
        moves: The random views, drawn ahead on the CPU; ``None``: drawn from ``seeds``.

    Returns:
        Perturbed images, the shape of ``images``.

    Raises:
        ImageError, NetworkError, SettingsError: As for :func:`monai_advenc.perturbation.pgd.perturb`.
    """
    objective = as_objective(targets)
    check_inputs(network, images, objective, settings, seeds, regions, scales, moves)
    if batch_size < 1:
        raise SettingsError(f"expected a batch_size of 1 or more, got {batch_size}")

    scales = None if scales is None else to_device(scales.to(images.dtype), images.device)
    shared = images.device.type == "cpu" and getattr(network, "stateless", False)
    size = _rows_together(len(images), batch_size, settings, shared=shared)

    def perturb_rows(rows: range) -> Tensor:
        # Adaptive steps pad their batches themselves.
        missing = 0 if settings.schedule == "adaptive" else batch_size - len(rows)
        padded = [*rows, *[rows[-1]] * missing]
        # Rows that are selected in a caller's inference mode would not allow gradients.
        with torch.inference_mode(False):
            there = to_device(torch.tensor(padded), images.device)
            return perturb(
                network,
                images[there],
                objective.of(there),
                settings,
                seeds=None if seeds is None else [seeds[row] for row in padded],
                regions=None if regions is None else regions[there],
                scales=None if scales is None else scales[there],
                start=None if start is None else start[there],
                moves=None if moves is None else moves[padded],
                batch_size=batch_size,
            )[: len(rows)]

    batches = [range(start, min(start + size, len(images))) for start in range(0, len(images), size)]
    parts = _map_on_threads(perturb_rows, batches) if shared else [perturb_rows(rows) for rows in batches]
    return torch.cat(parts) if parts else images.clone()


def _rows_together(count: int, batch_size: int, settings: PerturbationSettings, *, shared: bool) -> int:
    """Number of images perturbed together: one batch, or for adaptive steps a thread's share up to a limit."""
    if settings.schedule != "adaptive":
        return batch_size
    threads = min(torch.get_num_threads(), MOST_BATCHES_AT_A_TIME) if shared else 1
    share = -(-count // (threads * batch_size))
    return batch_size * min(max(1, share), MOST_BATCHES_TOGETHER)


def _map_on_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Map items on threads and return the results in order; each thread gets an equal share of PyTorch's threads."""
    cores = torch.get_num_threads()
    at_a_time = min(cores, len(items), MOST_BATCHES_AT_A_TIME)
    if at_a_time < 2:
        return [function(item) for item in items]
    pool = ThreadPoolExecutor(at_a_time, initializer=torch.set_num_threads, initargs=(cores // at_a_time,))
    try:
        results = list(pool.map(function, items))
        pool.shutdown()
        return results
    finally:
        # A thread cannot be stopped: after Ctrl-C, running threads finish their images, but nothing waits for them.
        pool.shutdown(wait=False, cancel_futures=True)
        torch.set_num_threads(cores)  # New threads get the number that any thread set last.
