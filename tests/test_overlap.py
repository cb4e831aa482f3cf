from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from monai_advenc.workers import READERS, WRITERS, overlapped


def slowly(step: Callable[[int], int], seconds: float) -> Callable[[int], int]:
    def run(value: int) -> int:
        time.sleep(seconds)
        return step(value)

    return run


@pytest.mark.parametrize(("read_s", "compute_s", "write_s"), [(0.0, 0.0, 0.002), (0.002, 0.0, 0.0), (0.0, 0.002, 0.0)])
def test_results_come_in_order_whichever_step_is_slow(read_s: float, compute_s: float, write_s: float) -> None:
    steps = slowly(abs, read_s), slowly(lambda value: value + 1, compute_s), slowly(lambda value: 2 * value, write_s)
    assert list(overlapped(range(30), *steps)) == [2 * (value + 1) for value in range(30)]


def test_computing_goes_on_while_a_result_waits_to_be_written() -> None:
    third_is_computed = threading.Event()

    def compute(value: int) -> int:
        if value == 2:
            third_is_computed.set()
        return value

    def write(value: int) -> bool:
        return third_is_computed.wait(30)

    assert all(overlapped(range(3), int, compute, write))


def test_no_more_is_held_than_was_allowed() -> None:
    ahead, behind, held, most = 2, 3, set(), 0
    guard = threading.Lock()

    def read(value: int) -> int:
        with guard:
            held.add(value)
        return value

    for value in overlapped(range(50), read, int, slowly(int, 0.001), ahead=ahead, behind=behind):
        with guard:
            most = max(most, len(held))
            held.discard(value)
    assert most <= ahead + 1 + behind
    assert not held


def test_a_problem_in_any_step_arrives_and_leaves_no_thread() -> None:
    def fail_at_five(value: int) -> int:
        if value == 5:
            raise ValueError("five")
        return value

    before = set(threading.enumerate())
    for place in range(3):
        steps = [fail_at_five if place == each else int for each in range(3)]
        with pytest.raises(ValueError, match="five"):
            list(overlapped(range(20), steps[0], steps[1], steps[2]))
        assert set(threading.enumerate()) <= before


def test_who_stops_taking_results_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    results = overlapped(range(100), int, int, int)
    next(results)
    assert len(set(threading.enumerate()) - before) <= READERS + WRITERS
    results.close()  # type: ignore[attr-defined]  # It is a generator.
    assert set(threading.enumerate()) <= before
