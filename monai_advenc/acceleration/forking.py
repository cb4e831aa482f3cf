# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Fork no process while a thread that has computed is still ending.

PyTorch multiplies matrices with Intel's MKL, which keeps memory for each thread and gives it back, under a lock, when
the thread ends. Python has let the thread go before, and ``join`` may have returned. A process that is forked at this
moment has the lock but not the thread, so its first product waits for ever. With PyTorch 2.13 on two busy cores, about
one in fifty processes that were forked right after a pool of threads hung in this way. An example is MONAI's
``CacheDataset`` followed by a ``DataLoader`` with workers; another is threads of ours followed by workers of ours.

A fork does not wait for a thread that still computes; where ``/proc`` cannot be read it waits for no thread.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

LONGEST_WAIT = 5.0
"""Seconds until a process is forked in any case. A thread needs milliseconds to end, but the system may have given its
number to another thread, which stays."""

_OMP_PAUSE_SOFT = 1

_TASKS = Path("/proc/self/task")

_thread = threading.local()

_ending: set[int] = set()

_gate = threading.RLock()
"""Lock of the thread that forks. Threads that have computed take it before they end."""


class _End:
    """A value of a thread. Python deletes it in this thread just before the thread ends."""

    def __init__(self) -> None:
        self.number, self.end_helpers = threading.get_native_id(), _end_of_helpers()

    def __del__(self) -> None:
        # A forked child deletes the values of its parent's threads, and a process that ends those of all threads.
        if threading.get_native_id() != self.number:
            return
        with _gate:
            # PyTorch's helpers of this thread have computed too, and might end after it.
            self.end_helpers(_OMP_PAUSE_SOFT)
            _ending.add(self.number)


@cache
def _end_of_helpers() -> Callable[[int], object]:
    """OpenMP's function that ends the helpers of the calling thread and waits for them, if there is one."""
    with suppress(OSError, AttributeError):
        end: Callable[[int], object] = ctypes.CDLL(None).omp_pause_resource_all
        return end
    return lambda kind: None


def note_computing_thread() -> None:
    """Let each fork wait while this thread ends; call this in any thread before it computes."""
    if sys.platform == "linux" and not hasattr(_thread, "end") and threading.get_native_id() != os.getpid():
        # A process that never forks would keep the numbers of all its threads.
        _forget_ended()
        _ending.discard(threading.get_native_id())
        _thread.end = _End()


def _forget_ended() -> None:
    for number in tuple(_ending):
        try:
            (_TASKS / str(number)).stat()
        except OSError:
            _ending.discard(number)


def wait_for_ending_threads() -> None:
    """Return when the threads that have computed and left Python have ended, at the latest after ``LONGEST_WAIT``."""
    latest = time.monotonic() + LONGEST_WAIT
    _forget_ended()
    while _ending and time.monotonic() < latest:
        time.sleep(0.001)
        _forget_ended()
    _ending.clear()


if sys.platform == "linux":
    os.register_at_fork(before=wait_for_ending_threads)
    # Functions run before a fork in reverse order: no thread begins to end after the other ones have been waited for.
    os.register_at_fork(before=_gate.acquire, after_in_parent=_gate.release, after_in_child=_gate.release)
