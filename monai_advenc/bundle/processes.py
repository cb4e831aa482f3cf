# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Several processes under ``torchrun``."""

from __future__ import annotations

import ignite.distributed as idist
import torch
import torch.distributed as dist


def start_processes() -> int:
    """Join the process group: NCCL where there are GPUs, else gloo. Returns the number of this process."""
    if not dist.is_initialized():
        dist.init_process_group(backend="nccl" if torch.cuda.is_available() else "gloo")
    # ignite counts processes together when it is first asked. Asked by one process alone, for a handler that only the
    # first process has, it would wait for the others for ever.
    idist.get_rank()
    return dist.get_rank()


def stop_processes() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()
