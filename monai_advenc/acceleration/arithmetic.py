# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Pin the arithmetic of a GPU: float32 without TF32, deterministic convolutions, the same kernels in every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

import torch

backends: Any = torch.backends
"""Flags that only some versions have are not among its annotations."""

Restore = Callable[[], None]


class _Pins:
    """The caller's flags while calls that need pinned ones run.

    The flags belong to the process. The first call of several at once pins them, the last one restores them.
    """

    def __init__(self) -> None:
        self._lock, self._calls = Lock(), 0
        self._restore: list[Restore] = []

    def enter(self) -> None:
        with self._lock:
            if not self._calls:
                self._restore = _pin()
            self._calls += 1

    def leave(self) -> None:
        with self._lock:
            self._calls -= 1
            if not self._calls:
                for restore in self._restore:
                    restore()


_PINS = _Pins()


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Compute float32 in float32 on a GPU, with deterministic convolutions, and restore the caller's flags afterwards.

    By default, PyTorch computes float32 convolutions of a GPU in TF32, with 10 bits after the point. A caller's
    ``cudnn.benchmark`` would choose kernels by their speed at that moment, so the bytes would differ from run to run.

    Args:
        device: Where the computation runs; nothing changes for the CPU.
    """
    if device.type == "cpu":
        yield
        return
    _PINS.enter()
    try:
        yield
    finally:
        _PINS.leave()


def _pin() -> list[Restore]:
    """Set all flags; return what restores them, in this order."""
    restore = [_set(backends.cudnn, "benchmark", False), _set(backends.cudnn, "deterministic", True)]
    if not hasattr(backends.cudnn, "conv"):  # torch 2.8
        return [*restore, _set(backends.cudnn, "allow_tf32", False), _set(backends.cuda.matmul, "allow_tf32", False)]
    # Newer versions have a flag for each operation. The old ones go first: setting them changes those, and reading them
    # raises an error where they contradict each other.
    operations = backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul
    found = [each.fp32_precision for each in operations]
    with suppress(RuntimeError):
        restore.append(_set(backends.cudnn, "allow_tf32", False))
    with suppress(RuntimeError):
        products = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        restore.append(lambda: torch.set_float32_matmul_precision(products))
    for operation, precision in zip(operations, found, strict=True):
        operation.fp32_precision = "ieee"
        restore.append(_restoring(operation, "fp32_precision", precision))
    return restore


def _set(owner: Any, flag: str, value: bool) -> Restore:
    restore = _restoring(owner, flag, getattr(owner, flag))
    setattr(owner, flag, value)
    return restore


def _restoring(owner: Any, flag: str, value: object) -> Restore:
    return lambda: setattr(owner, flag, value)
