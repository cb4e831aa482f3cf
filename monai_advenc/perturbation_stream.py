# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Perturbing many images: in batches of one size, several batches at a time on a processor with several cores.

Cores that share a batch wait for each other after every layer; cores that each have a batch of their own do not. And
while there is a batch for every core, the result does not depend on how many cores there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from monai_advenc.perturbation import PerturbationSettings, perturb


def perturb_in_batches(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    settings: PerturbationSettings,
    *,
    batch_size: int,
    seeds: Sequence[int] | None = None,
    regions: Tensor | None = None,
) -> Tensor:
    """:func:`monai_advenc.perturbation.perturb` for any number of images.

    Args:
        network: In evaluation mode (see :func:`monai_advenc.acceleration.prepare`).
        images: ``(N, C, H, W)``, float32 in [0, 1].
        targets: Target classes ``(N,)``, int64.
        settings: Radius, steps and norm.
        batch_size: Images per pass through the network. The last batch is padded to it, as a processor may choose
            another summation order for another size.
        seeds: One seed per image, for augmentation-aware steps.
        regions: Binary masks ``(N, 1, H, W)`` of the pixels that may change.

    Returns:
        Perturbed images, the shape of ``images``.

    Raises:
        ImageError, NetworkError, SettingsError: As :func:`monai_advenc.perturbation.perturb`.
    """

    def perturb_rows(rows: range) -> Tensor:
        padded = [*rows, *[rows[-1]] * (batch_size - len(rows))]
        return perturb(
            network,
            images[padded],
            targets[padded],
            settings,
            seeds=None if seeds is None else [seeds[row] for row in padded],
            regions=None if regions is None else regions[padded],
        )[: len(rows)]

    batches = [range(start, min(start + batch_size, len(images))) for start in range(0, len(images), batch_size)]
    cores = torch.get_num_threads() if images.device.type == "cpu" else 1
    at_a_time = min(cores, len(batches))
    if at_a_time < 2:
        parts = [perturb_rows(rows) for rows in batches]
    else:
        threads_each = cores // at_a_time
        pool = ThreadPoolExecutor(at_a_time, initializer=torch.set_num_threads, initargs=(threads_each,))
        try:
            parts = list(pool.map(perturb_rows, batches))
        finally:
            # What is running goes on to its end, as a thread cannot be stopped; what waits does not begin.
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(cores)  # PyTorch gives threads to come what any thread asked for last.
    return torch.cat(parts) if parts else images.clone()
