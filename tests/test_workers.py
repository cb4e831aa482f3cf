from __future__ import annotations

import os
import signal

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
