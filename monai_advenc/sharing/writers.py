# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write images in processes of their own while a GPU computes others.

Writing an image takes 3 ms at 32 pixels a side and 40 ms at 320, mostly in Python. Threads of one process take turns at
Python, so the thread that gives the GPU its work would wait for those that write.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from monai_advenc.errors import OutputError
from monai_advenc.workers import use_one_thread

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 32
"""Most items for a process at a time, so that all processes take part in a large block."""

_PR_SET_PDEATHSIG = 1

_work: list[Callable[[list[Any]], list[Any]]] = []
"""In a writer process: the one thing that it does."""


@contextmanager
def in_processes(
    function: Callable[[list[Item]], list[Result]], count: int
) -> Iterator[Callable[[Sequence[Item]], list[Result]]]:
    """Give a function that computes ``function(items)`` in other processes; several threads may call it at once.

    Args:
        function: Maps items one by one. The processes are forked, so it is not pickled; items and results are. It must
            not use a GPU.
        count: Number of processes.

    Raises:
        OutputError: A process was killed.
    """
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=(function,))

    def run(items: Sequence[Item]) -> list[Result]:
        # As bytes: torch would send a file descriptor for each tensor, and a process may have a thousand of them.
        starts = range(0, len(items), CHUNK)
        try:
            parts = [pool.submit(_run, pickle.dumps(list(items[start : start + CHUNK]))) for start in starts]
            return [result for part in parts for result in _results(part)]
        except BrokenProcessPool:
            raise OutputError(
                "a process that writes images was killed (out of memory?); run the same command again to continue"
            ) from None

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Newer versions warn of forking next to any thread.
            # All are forked here, before threads run, by the thread whose end is to be theirs.
            pool.submit(partial(bool)).result()
        yield run
    finally:
        pool.shutdown(cancel_futures=True)


def _results(part: Future[bytes]) -> list[Any]:
    results: list[Any] = pickle.loads(part.result())
    return results


def _start(function: Callable[[list[Any]], list[Any]]) -> None:
    _work[:] = [function]
    use_one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The command ends them.
    if sys.platform == "linux":
        # A command that is killed must not leave processes behind.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _run(items: bytes) -> bytes:
    return pickle.dumps(_work[0](pickle.loads(items)))
