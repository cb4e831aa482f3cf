"""A process that is forked right after threads that computed can compute, and never waits for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
import torch
from torch import Tensor

from monai_advenc.acceleration import forking
from monai_advenc.acceleration.forking import note_computing_thread
from monai_advenc.acceleration.prepare import prepare
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.conftest import tiny_network

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list a process's threads"),
    # From Python 3.12 on.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

SETTINGS = PerturbationSettings(radius=1, step_size=0.3, steps=2)


def perturb_a_little(images: Tensor) -> None:
    perturb(tiny_network(), images, torch.ones(len(images), dtype=torch.int64), SETTINGS)


def prepare_a_little(images: Tensor) -> None:
    prepare(tiny_network(), (1, *images.shape[2:]), precision="fp32")


def threads_of_system() -> set[int]:
    return {int(each.name) for each in Path("/proc/self/task").iterdir()}


def status_of_child(work: Callable[[], bool], seconds: float = 30) -> int | None:
    """0: a forked process found ``work`` true; ``None``: it hung."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    latest = time.monotonic() + seconds
    while time.monotonic() < latest:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


class Waiting:
    """A thread that does something and then lives until it is let go."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._done, self._go = threading.Event(), threading.Event()
        self.found: object = None

        def live() -> None:
            self.found = work()
            self._done.set()
            self._go.wait(60)

        self.thread = threading.Thread(target=live)

    def __enter__(self) -> Waiting:
        self.thread.start()
        assert self._done.wait(60)
        return self

    def let_go(self) -> None:
        self._go.set()

    def __exit__(self, *error: object) -> None:
        self.let_go()
        self.thread.join()


@pytest.fixture(autouse=True)
def _none_ending() -> Iterator[None]:
    forking.wait_for_ending_threads()
    yield
    forking._ending.clear()


def test_a_process_is_forked_when_a_noted_thread_has_ended() -> None:
    thread = threading.Thread(target=time.sleep, args=(0.3,))
    thread.start()
    number = thread.native_id
    assert number in threads_of_system()
    forking._ending.add(number)
    assert status_of_child(lambda: True) == 0
    assert number not in threads_of_system()
    assert not forking._ending


@pytest.mark.parametrize("compute", [perturb_a_little, prepare_a_little])
def test_a_thread_that_computed_is_noted_when_it_ends(images: Tensor, compute: Callable[[Tensor], None]) -> None:
    with Waiting(lambda: compute(images)) as computing:
        assert not forking._ending
    assert forking._ending == {computing.thread.native_id}


def test_the_main_thread_and_one_that_did_not_compute_are_not_noted(images: Tensor) -> None:
    with Waiting(lambda: None):
        perturb_a_little(images)
    assert not forking._ending
    assert not hasattr(forking._thread, "end")


def test_no_thread_begins_to_end_while_a_process_is_forked() -> None:
    with Waiting(note_computing_thread) as computing:
        with forking._gate:
            computing.let_go()
            time.sleep(0.2)
            assert computing.thread.native_id in threads_of_system()
            assert not forking._ending
        computing.thread.join()
        assert forking._ending == {computing.thread.native_id}


@pytest.mark.skipif(not torch.backends.openmp.is_available(), reason="PyTorch computes without OpenMP here")
@pytest.mark.parametrize("threads", [2], indirect=True)
def test_the_helpers_of_a_thread_have_ended_before_it_is_noted(threads: int) -> None:
    def compute() -> tuple[set[int], set[int]]:
        note_computing_thread()
        before = threads_of_system()
        torch.rand(1_000_000).exp_()
        helpers = threads_of_system() - before
        del forking._thread.end  # As when the thread ends.
        return helpers, helpers & threads_of_system()

    with Waiting(compute) as computing:
        assert computing.found is not None
    helpers, left = computing.found
    assert len(helpers) == 1
    assert not left


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_a_child_waits_for_no_thread_of_its_parent(
    images: Tensor, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forking, "LONGEST_WAIT", 1000)  # A child that waited would be taken for one that hung.

    def fork_again() -> bool:
        return not forking._ending and status_of_child(lambda: True) == 0

    with Waiting(lambda: perturb_a_little(images)):
        assert status_of_child(fork_again) == 0


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_a_child_of_a_thread_that_computed_does_not_wait_for_helpers_that_it_lacks(threads: int) -> None:
    def let_go_of_the_thread() -> bool:
        del forking._thread.end
        return not forking._ending

    def compute_and_fork() -> int | None:
        note_computing_thread()
        torch.rand(1_000_000).exp_()
        return status_of_child(let_go_of_the_thread)

    with Waiting(compute_and_fork) as computing:
        assert computing.found == 0


def test_threads_of_a_child_are_noted_too() -> None:
    def compute_and_fork() -> bool:
        with Waiting(note_computing_thread) as computing:
            pass
        noted = forking._ending == {computing.thread.native_id}
        return noted and status_of_child(lambda: True) == 0 and not forking._ending

    assert status_of_child(compute_and_fork) == 0


def test_a_number_that_belongs_to_a_living_thread_delays_one_fork_and_not_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forking, "LONGEST_WAIT", 0.3)
    with Waiting(lambda: None) as living:
        forking._ending.add(living.thread.native_id)
        start = time.monotonic()
        assert status_of_child(lambda: True) == 0
        assert time.monotonic() - start >= 0.3
        assert not forking._ending


def test_a_process_that_never_forks_does_not_keep_the_numbers_of_all_its_threads() -> None:
    beyond_the_largest_number = 2**22 + 1
    forking._ending.add(beyond_the_largest_number)
    with Waiting(note_computing_thread) as computing:
        pass
    assert forking._ending == {computing.thread.native_id}


def test_a_program_ends_without_a_word_while_a_thread_that_computed_lives() -> None:
    program = (
        "import threading, time\n"
        "from monai_advenc.acceleration.forking import note_computing_thread\n"
        "done = threading.Event()\n"
        "def live(): note_computing_thread(); done.set(); time.sleep(60)\n"
        "threading.Thread(target=live, daemon=True).start()\n"
        "done.wait(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2], indirect=True)
def test_each_of_many_processes_that_are_forked_after_a_pool_has_perturbed_can_perturb(
    images: Tensor, threads: int
) -> None:
    """Without the wait, about one in fifty hung."""
    fast, targets = prepare(tiny_network(), (1, 32, 32)), torch.ones(4, dtype=torch.int64)

    def work(_: int = 0) -> bool:
        return perturb(fast, images[:4], targets, SETTINGS).shape == (4, 1, 32, 32)

    def work_in_child() -> bool:
        torch.set_num_threads(1)  # As PyTorch's workers do.
        return work()

    for _ in range(300):
        with ThreadPool(4) as pool:  # As MONAI's CacheDataset: nothing waits for its threads.
            assert all(pool.map(work, range(8), chunksize=1))
        assert status_of_child(work_in_child) == 0
