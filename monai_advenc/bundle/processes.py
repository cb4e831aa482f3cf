# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Several processes under ``torchrun``."""

from __future__ import annotations

import time

import ignite.distributed as idist
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import nn

_SECONDS_TO_LET_GO = 0.5


def start_processes() -> int:
    """Join the process group: NCCL where there are GPUs, else gloo. Returns the number of this process."""
    if not dist.is_initialized():
        dist.init_process_group(backend="nccl" if torch.cuda.is_available() else "gloo")
    # ignite counts processes together when it is first asked. Asked by one process alone, for a handler that only the
    # first process has, it would wait for the others for ever.
    idist.get_rank()
    return dist.get_rank()


def stop_processes() -> None:
    """Leave the process group, as the last thing before the process ends."""
    if dist.is_initialized():
        dist.destroy_process_group()
        # gloo's threads let go of what was last exchanged a little later than its result is there, and a process that
        # ends in between aborts (pytorch/pytorch, pull request 179291). There is nothing that could be waited for.
        time.sleep(_SECONDS_TO_LET_GO)


def is_distributed() -> bool:
    """Whether this process works together with others."""
    return dist.is_available() and dist.is_initialized()


def is_first_process() -> bool:
    """Whether this process writes what is written once."""
    return not is_distributed() or dist.get_rank() == 0


class BuffersOfFirstProcess:
    """Gives every process the first one's buffers before an evaluator runs; a handler of that evaluator.

    The statistics of batch norm differ between processes after each training step, and the first process's network is
    the one that is saved: without this the accuracy would be that of no network at all.

    Args:
        network: Without the wrapper of ``DistributedDataParallel``.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def attach(self, engine: Engine) -> None:
        """Send them before each run of an evaluator."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Send them."""
        if is_distributed():
            for buffer in self._network.buffers():
                dist.broadcast(buffer, src=0)
