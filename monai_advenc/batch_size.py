# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""How many images go through a network together: on a GPU as many as its memory allows."""

from __future__ import annotations

import torch
from torch import nn

from monai_advenc.acceleration import device_of
from monai_advenc.encryption import BATCH_SIZE
from monai_advenc.errors import NetworkError
from monai_advenc.step_gradients import target_gradient

LARGEST_BATCH = 256
"""Beyond it a GPU gains little; and while memory allows it, every run takes the same batch, hence the same bytes."""

SHARE_OF_FREE_MEMORY = 0.7


def versions_per_pass(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """How many images should go through a network together, for encryption's ``batch_size``.

    Returns:
        On a CPU :data:`monai_advenc.encryption.BATCH_SIZE`. On a GPU the largest power of two up to
        :data:`LARGEST_BATCH` whose gradients fit into the free memory.

    Raises:
        NetworkError: Not even :data:`monai_advenc.encryption.BATCH_SIZE` images fit.
    """
    device = device_of(network)
    if device.type != "cuda":
        return BATCH_SIZE
    images = torch.zeros(BATCH_SIZE, *image_shape, device=device)
    targets = torch.zeros(BATCH_SIZE, dtype=torch.int64, device=device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    try:
        target_gradient(network, images, targets)
    except torch.cuda.OutOfMemoryError:
        raise NetworkError(
            f"{BATCH_SIZE} images of shape {image_shape} do not fit into the GPU; free memory, or use --device cpu"
        ) from None
    used = torch.cuda.max_memory_allocated(device) - before
    reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return largest_batch(torch.cuda.mem_get_info(device)[0] + reserved, used / BATCH_SIZE)


def largest_batch(free: float, per_image: float) -> int:
    """The largest power of two of images that fit into memory, both in bytes, within what is sensible."""
    fitting = int(SHARE_OF_FREE_MEMORY * free / max(per_image, 1))
    return min(LARGEST_BATCH, max(BATCH_SIZE, 1 << max(0, fitting.bit_length() - 1)))
