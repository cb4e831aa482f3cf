"""A network is traced while other threads compute with theirs, and nothing of torch is left changed."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.acceleration.graphs import ONE_AT_A_TIME, trace
from monai_advenc.acceleration.kept_networks import PreparedNetworks
from monai_advenc.acceleration.prepare import prepare
from tests.conftest import tiny_network


class Meeting(nn.Module):
    """A part of a network that lets another thread compute while it is traced."""

    def __init__(self) -> None:
        super().__init__()
        self.traced, self.done = threading.Event(), threading.Event()

    def forward(self, features: Tensor) -> Tensor:
        self.traced.set()
        assert self.done.wait(60)
        return features


class Outer(nn.Module):
    """torch.fx looks into modules that are not torch's own, and so calls its parts while it traces."""

    def __init__(self) -> None:
        super().__init__()
        self.meeting, self.rest = Meeting(), tiny_network()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.rest(self.meeting(images))
        return logits


def test_another_thread_computes_while_a_network_is_traced(images: Tensor) -> None:
    network, other = Outer(), tiny_network(seed=1)
    expected, functions = other(images), (nn.Module.__call__, nn.Module.__getattr__)
    with ThreadPoolExecutor(1) as pool:
        traced = pool.submit(trace, network)
        try:
            assert network.meeting.traced.wait(60)
            assert nn.Module.__call__ is not functions[0]  # Else this test would tell nothing.
            found = other(images)
        finally:
            network.meeting.done.set()
        graph = traced.result(60)
    assert torch.equal(found, expected)
    assert (nn.Module.__call__, nn.Module.__getattr__) == functions
    assert torch.equal(graph(images), network(images))


def test_threads_that_make_networks_ready_leave_torch_as_it_was(images: Tensor) -> None:
    functions = (nn.Module.__call__, nn.Module.__getattr__)
    networks = [tiny_network(seed=seed) for seed in range(4)]
    expected = [prepare(each, (1, 32, 32), precision="fp32")(images) for each in networks]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: prepare(networks[k % 4], (1, 32, 32), precision="fp32")(images), range(32)))
    assert all(torch.equal(each, expected[k % 4]) for k, each in enumerate(found))
    assert (nn.Module.__call__, nn.Module.__getattr__) == functions


def test_threads_make_a_network_ready_once(network: nn.Module) -> None:
    prepared = PreparedNetworks("fp32")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: prepared.get(network, (1, 32, 32)), range(8)))
    assert all(each is found[0] for each in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
@pytest.mark.filterwarnings("ignore:This process")  # It has threads, and that is the point.
def test_a_process_forked_while_a_thread_traces_can_trace_too() -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with ONE_AT_A_TIME:
            held.set()
            release.wait(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    child = os.fork()  # Waits for the thread.
    if child == 0:
        os._exit(0 if ONE_AT_A_TIME.acquire(timeout=10) else 1)
    release.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
