# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write images in processes of their own while a GPU computes others.

Writing an image takes 3 ms at 32 pixels a side and 40 ms at 320, mostly in Python. Threads of one process take turns at
Python, so the thread that gives the GPU its work would wait for those that write. The processes are started anew: CUDA
does not survive in a process that is forked from one that uses it.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeVar

from monai_advenc.errors import OutputError
from monai_advenc.workers import available_cores, end_with, use_one_thread

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_WRITERS = 8
"""Processes that write the images of one GPU."""

CHUNK = 32
"""Most items for a process at a time, so that all processes take part in a large block."""

_PROGRAM = "import sys; sys.path[:] = {path!r}; from monai_advenc.sharing.writers import serve; serve{numbers}"


def writers_for(images: int, cores: int | None = None) -> int:
    """Number of processes that should write so many images: 0 where they would take longer to start than to write.

    Args:
        images: Number of images of one GPU.
        cores: Cores for that GPU; ``None``: all that this process may use.
    """
    if os.name != "posix":
        return 0
    spare = (available_cores() if cores is None else cores) - 1
    return max(0, min(MOST_WRITERS, spare, images // CHUNK))


@contextmanager
def in_processes(
    function: Callable[[list[Item]], list[Result]], count: int
) -> Iterator[Callable[[Sequence[Item]], list[Result]]]:
    """Give a function that computes ``function(items)`` in other processes; several threads may call it at once.

    Args:
        function: Maps items one by one. It is pickled, as items and results are. No GPU is visible to it.
        count: Number of processes.

    Raises:
        OutputError: A process was killed, or cannot be started.
    """
    work, idle = pickle.dumps(function), SimpleQueue[_Process]()
    processes: list[_Process] = []
    pool = ThreadPoolExecutor(count, thread_name_prefix="to-writers")

    def ask(content: bytes) -> list[Result]:
        process = idle.get()
        try:
            results: list[Result] = process.ask(content)
            return results
        finally:
            idle.put(process)

    def run(items: Sequence[Item]) -> list[Result]:
        # As bytes: torch would send a file descriptor for each tensor, and a process may have a thousand of them.
        starts = range(0, len(items), CHUNK)
        parts = [pool.submit(ask, pickle.dumps(list(items[start : start + CHUNK]))) for start in starts]
        return [result for part in parts for result in part.result()]

    try:
        for _ in range(count):
            processes.append(_Process(work))
            idle.put(processes[-1])
        yield run
    finally:
        pool.shutdown(cancel_futures=True)
        for process in processes:
            process.end()


class _Process:
    """A new process that does one thing with whatever it is sent."""

    def __init__(self, work: bytes) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        program = _PROGRAM.format(path=sys.path, numbers=(theirs.fileno(), os.getpid()))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is for the command, which ends its processes.
            )
        except OSError as error:
            self._connection.close()
            raise OutputError(
                f"cannot start a process that writes images: {error.strerror}; close other programs, then run the same "
                "command again to continue"
            ) from None
        finally:
            theirs.close()
        with suppress(OSError):  # One that ended already is reported when it is asked.
            self._connection.send_bytes(work)

    def ask(self, items: bytes) -> list[Any]:
        """Send items and wait for the results."""
        try:
            self._connection.send_bytes(items)
            results, error, where = pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise OutputError(
                "a process that writes images was killed (out of memory?); run the same command again to continue"
            ) from None
        if error is not None:
            raise error from RuntimeError(where)
        found: list[Any] = results
        return found

    def end(self) -> None:
        """End the process; it has nothing to do any more."""
        self._connection.close()
        self._process.terminate()
        self._process.wait()


def serve(number: int, parent: int) -> None:
    """In a new process of ``parent``: do what the connection with this file descriptor asks for, until it closes."""
    end_with(parent)
    use_one_thread()
    connection = Connection(number)
    with suppress(EOFError, OSError):
        function = pickle.loads(connection.recv_bytes())
        while True:
            connection.send_bytes(_answer(function, connection.recv_bytes()))


def _answer(function: Callable[[list[Any]], list[Any]], items: bytes) -> bytes:
    """The results, or the error and where it was raised."""
    try:
        return pickle.dumps((function(pickle.loads(items)), None, ""))
    except Exception as error:  # noqa: BLE001  # The process that asked raises it.
        where = traceback.format_exc()
        try:
            return pickle.dumps((None, error, where))
        except Exception:  # noqa: BLE001  # Not every error can be pickled.
            return pickle.dumps((None, RuntimeError(where), where))
