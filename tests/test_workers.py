from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
import time

import numpy as np
import pytest
import torch

from monai_advenc.errors import DatasetError, OutputError
from monai_advenc.workers import map_in_workers


def describe(item: int) -> tuple[int, np.ndarray, int]:
    return item, np.full(2, item), torch.get_num_threads()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order_as_the_function_returned_them_and_of_one_thread(workers: int) -> None:
    threads = torch.get_num_threads()
    results = list(map_in_workers(describe, range(5, 12), workers))
    assert [item for item, _, _ in results] == list(range(5, 12))
    assert all(isinstance(values, np.ndarray) and values.tolist() == [item] * 2 for item, values, _ in results)
    assert {used for _, _, used in results} == {1}
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_ours_comes_back_from_a_worker_as_it_was_raised(workers: int) -> None:
    def fail(item: int) -> int:
        if item == 2:
            raise DatasetError("expected one thing, got another; do this")
        return item

    results = map_in_workers(fail, range(4), workers)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(DatasetError, match=r"^expected one thing, got another; do this$"):
        next(results)


def test_no_items_need_no_workers() -> None:
    assert list(map_in_workers(describe, [], 2)) == []


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_a_killed_worker_is_one_line_that_says_what_to_do() -> None:
    def die(item: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(OutputError, match=r"a worker process was killed .* with fewer --workers"):
        list(map_in_workers(die, range(2), 1))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker looks for its parent every five seconds")
@pytest.mark.parametrize("killed", ["before the worker has begun", "while it works"])
def test_a_worker_ends_with_the_process_that_started_it(killed: str) -> None:
    def work(item: int) -> None:
        os.write(write, b"begun")
        time.sleep(60)

    read, write = os.pipe()
    child = os.fork()
    if not child:
        if killed == "before the worker has begun":
            os.register_at_fork(
                after_in_child=lambda: time.sleep(0.3), after_in_parent=lambda: os.kill(os.getpid(), signal.SIGKILL)
            )
        list(map_in_workers(work, range(2), 1))
        os._exit(0)
    os.close(write)
    if killed == "while it works":
        assert os.read(read, 5) == b"begun"
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    # The worker holds the other end of the pipe as long as it lives.
    assert select.select([read], [], [], 20)[0], "the worker still lives"
    assert os.read(read, 5) == b""
    os.close(read)


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no fork server here")
def test_workers_of_a_fork_server_work_too() -> None:
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("forkserver", force=True)  # The default from Python 3.14 on.
    try:
        assert [item for item, _, _ in map_in_workers(describe, range(3), 1)] == [0, 1, 2]
    finally:
        multiprocessing.set_start_method(before, force=True)
