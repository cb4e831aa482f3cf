# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading ahead and writing behind: threads keep files moving while the one that computes never waits for them.

For one process that has the GPU. Several processes on a CPU overlap by themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Computed = TypeVar("Computed")
Written = TypeVar("Written")

THREADS = 2
"""Threads that read, and as many that write. Most of their work (zlib, disk) lets other threads run meanwhile."""


def overlapped(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    compute: Callable[[Read], Computed],
    write: Callable[[Computed], Written],
    *,
    depth: int = 2 * THREADS,
) -> Iterator[Written]:
    """Yield ``write(compute(read(item)))`` for every item, in order, the three steps of different items at once.

    Args:
        items: What to work on.
        read: Runs in other threads.
        compute: Runs in the thread that takes the results, one item after the other.
        write: Runs in other threads.
        depth: Items that may be read ahead, and as many that may wait to be written: memory does not grow beyond them.

    Yields:
        What ``write`` returned.

    Raises:
        Exception: Whatever a step raised, when its item's turn comes; no thread is left then.
    """
    reading = ThreadPoolExecutor(THREADS, thread_name_prefix="read-ahead")
    writing = ThreadPoolExecutor(THREADS, thread_name_prefix="write-behind")
    ahead: deque[Future[Read]] = deque()
    behind: deque[Future[Written]] = deque()
    remaining = iter(items)
    try:
        while True:
            ahead.extend(reading.submit(read, item) for item in islice(remaining, depth - len(ahead)))
            if not ahead:
                break
            behind.append(writing.submit(write, compute(ahead.popleft().result())))
            while behind and (len(behind) >= depth or behind[0].done()):
                yield behind.popleft().result()
        while behind:
            yield behind.popleft().result()
    finally:
        reading.shutdown(cancel_futures=True)
        writing.shutdown(cancel_futures=True)
