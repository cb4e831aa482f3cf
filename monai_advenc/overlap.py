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

from monai_advenc.worker_processes import available_cores

Item = TypeVar("Item")
Read = TypeVar("Read")
Computed = TypeVar("Computed")
Written = TypeVar("Written")

READERS = 2
"""Threads that read, and as many items as they may be ahead."""

WRITERS = max(2, min(8, available_cores()))
"""Threads that write, and as many items as may wait for them. Writing is the slower side: it compresses and waits for
the disk, and lets other threads run meanwhile."""


def overlapped(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    compute: Callable[[Read], Computed],
    write: Callable[[Computed], Written],
    *,
    ahead: int = READERS,
    behind: int = WRITERS,
) -> Iterator[Written]:
    """Yield ``write(compute(read(item)))`` for every item, in order, the three steps of different items at once.

    Args:
        items: What to work on.
        read: Runs in other threads.
        compute: Runs in the thread that takes the results, one item after the other.
        write: Runs in other threads.
        ahead: Items that may be read ahead.
        behind: Items that may wait to be written; then computing waits, so that memory does not grow.

    Yields:
        What ``write`` returned.

    Raises:
        Exception: Whatever a step raised, when its item's turn comes; no thread is left then.
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
