# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypting a whole image set for an experiment, and keeping its pixels on the 16-bit grid of a PNG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.encrypt import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.rounding import round_to_grid
from monai_advenc.files.atomic import write_atomically
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.workers import compute_items

LEVELS = 65535
_BLOCKS_OF = 128
"""Images a worker takes at a time."""


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
        base: The base network, on the device to compute on.
        originals: The images.
        random_targets: Perturb each image toward a class drawn at random, for the paper's R+Orig; only the key's
            perturbation settings are then used. Its own class may be drawn too: the paper does not rule it out.
        seed: Decides the random targets.
        batch_size: Images that are perturbed together.
        workers: Worker processes; 0 works in this process.

    Returns:
        ``(N, C, H, W)``, float32, on the grid of 16-bit files.
    """
    targets = None
    if random_targets:
        generator = torch.Generator().manual_seed(seed)
        targets = torch.randint(len(originals.classes), (len(originals),), generator=generator)
    blocks = _Blocks(key, base, originals, targets, batch_size, max(batch_size, _BLOCKS_OF))
    return torch.cat(list(compute_items(blocks, workers)))


def save_pixels(path: Path, images: Tensor) -> None:
    """Write images ``(N, C, H, W)`` on the 16-bit grid as a ``.npy`` file of uint16."""
    buffer = io.BytesIO()
    np.save(buffer, np.rint(images.numpy() * LEVELS).astype(np.uint16))
    write_atomically(path, buffer.getvalue())


def load_pixels(path: Path) -> Tensor:
    """Read what :func:`save_pixels` wrote."""
    return torch.from_numpy(np.load(path).astype(np.float32)) / LEVELS


class _Blocks(Dataset[Tensor]):
    def __init__(
        self,
        key: EncryptionKey,
        base: nn.Module,
        originals: ImageSet,
        targets: Tensor | None,
        batch_size: int,
        block: int,
    ) -> None:
        channels, height, width = originals.images.shape[1:]
        self.key, self.originals, self.targets = key, originals, targets
        self.network = prepare(base, (channels, height, width), steps=key.perturbation.steps)
        self.device = next(base.parameters()).device
        self.batch_size, self.block = batch_size, block

    def __len__(self) -> int:
        return -(-len(self.originals) // self.block)

    def __getitem__(self, index: int) -> Tensor:
        rows = slice(index * self.block, (index + 1) * self.block)
        images = self.originals.images[rows].to(self.device)
        if self.targets is not None:
            return self._perturb(images, self.targets[rows].to(self.device)).cpu()
        labels = self.originals.labels[rows].to(self.device)
        return encrypt_batch(self.key, self.network, images, labels, levels=LEVELS, batch_size=self.batch_size).cpu()

    def _perturb(self, images: Tensor, targets: Tensor) -> Tensor:
        settings = self.key.perturbation
        seeds = self.key.image_seeds("views 0", images) if settings.augmentation else None
        perturbed = perturb_in_batches(self.network, images, targets, settings, batch_size=self.batch_size, seeds=seeds)
        radius = settings.at_size(*images.shape[-2:]).radius
        return round_to_grid(perturbed, images, levels=LEVELS, radius=radius, norm=settings.norm)
