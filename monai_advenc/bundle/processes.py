# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Start, stop and synchronize several processes under ``torchrun``."""

from __future__ import annotations

import os
import time

import ignite.distributed as idist
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import nn

_SECONDS_TO_LET_GO = 0.5


def own_device() -> torch.device:
    """The device of this process: under ``torchrun`` the GPU with its number on this machine, the CPU without GPUs."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return torch.device("cuda", _number_here() % gpus) if gpus else torch.device("cpu")


def _number_here() -> int:
    """Number of this process among those on this machine."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("RANK", "0")))


def start_processes() -> int:
    """Join the process group, each process with its own device; return the number of this process.

    NCCL connects GPUs, gloo CPUs. Where processes share a GPU, which NCCL does not allow, gloo connects them too.
    """
    if not dist.is_initialized():
        device = own_device()
        if device.type == "cuda":
            torch.cuda.set_device(device)  # Before the group starts: NCCL would take the first GPU in every process.
        alone = device.type == "cuda" and _processes_here() <= torch.cuda.device_count()
        # With both, objects are gathered on the CPU, and tensors where they are.
        backend = "cpu:gloo,cuda:nccl" if alone else "gloo"
        dist.init_process_group(backend=backend, device_id=device if alone else None)
    # On first use, ignite counts the processes in a collective call. If only the first process made it, for its own
    # handler, it would wait for the others forever.
    idist.get_rank()
    return dist.get_rank()


def _processes_here() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1")))


def stop_processes() -> None:
    """Leave the process group, as the last thing before the process ends."""
    if dist.is_initialized():
        dist.destroy_process_group()
        # gloo's threads release their last buffers shortly after the result is available, and a process that
        # ends in between aborts (pytorch/pytorch, pull request 179291). No event signals the release.
        time.sleep(_SECONDS_TO_LET_GO)


def is_distributed() -> bool:
    """Whether there are several processes."""
    return dist.is_available() and dist.is_initialized()


def is_first_process() -> bool:
    """Whether this process is the first, which writes shared files."""
    return not is_distributed() or dist.get_rank() == 0


class BuffersOfFirstProcess:
    """Handler that copies the first process's buffers to all processes before an evaluator runs.

    Batch norm statistics differ between processes after each training step, and the first process saves its network.
    Without this handler, the measured accuracy would belong to no saved network.

    Args:
        network: The network without the wrapper of ``DistributedDataParallel``.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def attach(self, engine: Engine) -> None:
        """Copy the buffers before each run of an evaluator."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Copy the buffers."""
        if is_distributed():
            for buffer in self._network.buffers():
                dist.broadcast(buffer, src=0)
