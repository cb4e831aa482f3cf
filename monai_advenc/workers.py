# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compute in worker processes of one thread each, or read ahead and write behind in threads; results keep their order.

Each process has one thread, because the number of threads can change the last bit of a sum, and because libraries that
each start one thread per core slow each other down.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, Dataset

from monai_advenc.errors import AdvencError, OutputError

Item = TypeVar("Item")

Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1
"""The request to Linux for a signal when the parent ends."""


class _Results(Dataset[Result | AdvencError]):
    """The results of a function, each computed on access."""

    def __init__(self, function: Callable[[Any], Result], items: Sequence[Any]) -> None:
        self.function = function
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Result | AdvencError:
        try:
            return self.function(self.items[index])
        except AdvencError as error:
            return error  # Raised in a worker, it would come back as a traceback in a message.


def map_in_workers(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order, computed by worker processes of one thread each.

    Args:
        function: Does the work. What it returns or raises is pickled.
        items: What to work on.
        workers: Number of processes; 0 computes in this process, each result on demand, also with one thread.

    Yields:
        The results, in the order of the items.

    Raises:
        AdvencError: The function raised it, for the first item whose result was not taken yet.
        OutputError: A worker was killed, or the thread that took the first result has ended: workers end with it.
    """
    # Workers of a fork server have it as their parent, and it ends with the process that started it.
    parent = None if multiprocessing.get_start_method() == "forkserver" else os.getpid()
    # PyTorch's loader has what a pool needs: order, prefetching, signals.
    with warnings.catch_warnings():
        # More workers than cores are the caller's choice.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        loader: DataLoader[Result | AdvencError] = DataLoader(
            _Results(function, items),
            batch_size=None,
            num_workers=min(workers, len(items)),
            collate_fn=_as_it_is,
            worker_init_fn=partial(_begin, parent=parent),
        )
        computed = iter(loader)
    try:
        with nullcontext() if loader.num_workers else one_thread():
            for result in computed:
                if isinstance(result, AdvencError):
                    raise result
                yield result
    except RuntimeError as error:
        # An exception that a worker raised says "Caught ... in DataLoader worker process" instead.
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise OutputError(
            "a worker process was killed (out of memory?); run the same command again to continue, with fewer --workers"
        ) from None


def _begin(worker: int, *, parent: int | None) -> None:
    if parent is not None:
        end_with(parent)
    use_one_thread()


def end_with(parent: int) -> None:
    """End this process when the one that started it is killed; it might go on writing files beside the next run.

    PyTorch's workers look for their parent every five seconds, and for ever for one that was killed before they looked
    the first time. Where there is no such signal as on Linux, that is what remains.

    Args:
        parent: Number of the process that started this one. If it has ended already, this one ends at once.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _as_it_is(result: Result) -> Result:
    """Keep PyTorch's loader from converting arrays to tensors and tuples to lists."""
    return result


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one thread, as in a worker, and restore the number of threads afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def use_one_thread() -> None:
    """Let this process use one thread from now on."""
    torch.set_num_threads(1)
    threadpool_limits(1)


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Read = TypeVar("Read")


Computed = TypeVar("Computed")


Written = TypeVar("Written")


READERS = 2
"""Number of threads that read, and of items that they may read ahead."""


WRITERS = max(2, min(8, available_cores()))
"""Number of threads that write, and of items that may wait for them. Writing is slower than reading: it compresses and
waits for the disk, while other threads run."""


def overlapped(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    compute: Callable[[Read], Computed],
    write: Callable[[Computed], Written],
    *,
    ahead: int = READERS,
    behind: int = WRITERS,
) -> Iterator[Written]:
    """Yield ``write(compute(read(item)))`` for every item, in order, with the steps of different items in parallel.

    Args:
        items: What to work on.
        read: Runs in other threads.
        compute: Runs in the calling thread, one item after the other.
        write: Runs in other threads.
        ahead: Number of items that may be read ahead.
        behind: Number of items that may wait to be written; with more, computing waits, so that memory does not grow.

    Yields:
        The results of ``write``.

    Raises:
        Exception: The exception of a step, in the order of the items; all threads have ended then.
    """
    reading = ThreadPoolExecutor(READERS, thread_name_prefix="read-ahead")
    writing = ThreadPoolExecutor(WRITERS, thread_name_prefix="write-behind")
    read_ahead: deque[Future[Read]] = deque()
    written_behind: deque[Future[Written]] = deque()
    remaining = iter(items)
    try:
        while True:
            read_ahead.extend(reading.submit(read, item) for item in islice(remaining, ahead + 1 - len(read_ahead)))
            if not read_ahead:
                break
            written_behind.append(writing.submit(write, compute(read_ahead.popleft().result())))
            while written_behind and (len(written_behind) > behind or written_behind[0].done()):
                yield written_behind.popleft().result()
        while written_behind:
            yield written_behind.popleft().result()
    finally:
        reading.shutdown(cancel_futures=True)
        writing.shutdown(cancel_futures=True)
