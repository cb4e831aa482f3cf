# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Randomness that a seed decides and that leaves the caller's alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Global draws come from ``seed``, the caller's random state is kept, GPU kernels are chosen alike every time."""
    with (
        torch.random.fork_rng(),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        yield
