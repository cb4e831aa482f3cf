# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Seed random draws without changing the caller's random state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from monai_advenc.acceleration.arithmetic import exact_arithmetic


@contextmanager
def reproducible(seed: int, device: torch.device | str) -> Iterator[None]:
    """Seed global draws, use deterministic GPU kernels, and restore the caller's random state and flags afterwards.

    Args:
        seed: Seed of the draws on the CPU and on ``device``.
        device: Where the network is. Other GPUs are left alone: asking one for its random state would initialize CUDA,
            and processes that are forked afterwards could not use it.
    """
    place = torch.device(device)
    gpus = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus, device_type="cuda"), exact_arithmetic(place):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield
