# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Seed random draws without changing the caller's random state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed global draws, use deterministic GPU kernels, and restore the caller's random state afterwards."""
    with (
        torch.random.fork_rng(),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        yield
