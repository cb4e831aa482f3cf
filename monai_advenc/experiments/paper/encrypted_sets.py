# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypt a whole image set for an experiment, and save its pixels on the 16-bit grid of a PNG."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import PreparedNetwork, prepare
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.rounding import round_to_grid
from monai_advenc.files.atomic import write_atomically
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.workers import map_in_workers

LEVELS = 65535
_BLOCKS_OF = 128
"""Images that a worker takes at a time."""


def encrypt_set(
    key: EncryptionKey,
    base: nn.Module,
    originals: ImageSet,
    *,
    random_targets: bool = False,
    seed: int = 0,
    batch_size: int,
    workers: int = 0,
) -> Tensor:
    """Encrypt all images of a set.

    Args:
        key: The encryption key.
        base: The base network, on the device for the computation.
        originals: The images.
        random_targets: Whether to perturb each image toward a random class, for the paper's R+Orig. Only the key's
            perturbation settings are then used. The image's own class is possible, as the paper does not exclude it.
        seed: Seed of the random targets.
        batch_size: Images that are perturbed together.
        workers: Worker processes; 0 works in this process.

    Returns:
        ``(N, C, H, W)``, float32, on the grid of 16-bit files.
    """
    targets = None
    if random_targets:
        generator = torch.Generator().manual_seed(seed)
        targets = torch.randint(len(originals.classes), (len(originals),), generator=generator)
    block = max(batch_size, _BLOCKS_OF)
    blocks = [slice(start, start + block) for start in range(0, len(originals), block)]
    channels, height, width = originals.images.shape[1:]
    network = prepare(base, (channels, height, width), steps=key.perturbation.steps)
    device = next(base.parameters()).device
    encrypt_rows = partial(_encrypt_rows, key, network, originals, targets, batch_size, device)
    return torch.cat(list(map_in_workers(encrypt_rows, blocks, workers)))


def _encrypt_rows(
    key: EncryptionKey,
    network: PreparedNetwork,
    originals: ImageSet,
    targets: Tensor | None,
    batch_size: int,
    device: torch.device,
    rows: slice,
) -> Tensor:
    images = originals.images[rows].to(device)
    if targets is None:
        labels = originals.labels[rows].to(device)
        return encrypt_batch(key, network, images, labels, levels=LEVELS, batch_size=batch_size).cpu()
    settings = key.perturbation
    seeds = key.image_seeds("views 0", images) if settings.augmentation else None
    perturbed = perturb_in_batches(
        network, images, targets[rows].to(device), settings, batch_size=batch_size, seeds=seeds
    )
    radius = settings.at_size(*images.shape[-2:]).radius
    return round_to_grid(perturbed, images, levels=LEVELS, radius=radius, norm=settings.norm).cpu()


def save_pixels(path: Path, images: Tensor) -> None:
    """Write images ``(N, C, H, W)`` on the 16-bit grid as a ``.npy`` file of uint16."""
    buffer = io.BytesIO()
    np.save(buffer, np.rint(images.numpy() * LEVELS).astype(np.uint16))
    write_atomically(path, buffer.getvalue())


def load_pixels(path: Path) -> Tensor:
    """Read a file of :func:`save_pixels`."""
    return torch.from_numpy(np.load(path).astype(np.float32)) / LEVELS
