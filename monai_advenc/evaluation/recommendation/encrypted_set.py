# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypt images in memory as files would hold them; finished blocks are kept on disk until all are measured."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monai_advenc.acceleration.kept_networks import PreparedNetworks
from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.reading import read_image, resize_image
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.radius import radius_shares
from monai_advenc.encryption.regions import REGIONS
from monai_advenc.errors import UnchangedError
from monai_advenc.evaluation.recommendation.time_limit import TimeLimit
from monai_advenc.files.atomic import write_atomically
from monai_advenc.progress import Progress
from monai_advenc.workers import map_in_workers

LEVELS = 65535
"""Steps of 16-bit files."""

_BLOCK = 32


@dataclass(frozen=True, kw_only=True)
class Originals:
    """Originals, and which of their pixels may change.

    Attributes:
        images: The originals.
        regions: ``(N, 1, H, W)``, bool; ``None``: all pixels.
        full_radius: Do not shrink the radius with the region.
        levels: Steps of the grid of the files.
    """

    images: ImageSet
    regions: Tensor | None = None
    full_radius: bool = False
    levels: int = LEVELS

    @classmethod
    def within(
        cls, images: ImageSet, region: str, *, full_radius: bool, levels: int | None, real: Tensor | None = None
    ) -> Originals:
        """Originals of which one region may change, as :class:`EncryptionOptions` name it.

        Args:
            images: The originals.
            region: Name of the region.
            full_radius: Do not shrink the radius with the region.
            levels: Steps of the grid of the files.
            real: ``(N, 1, H, W)``: pixels that are no padding; ``None``: all.
        """
        regions = real
        if region != "all":
            masks = [None] * len(images) if images.masks is None else list(images.masks)
            chosen = [REGIONS[region](image, mask) for image, mask in zip(images.images, masks, strict=True)]
            regions = torch.stack([each for each in chosen if each is not None])
            regions = regions if real is None else regions & real
        return cls(images=images, regions=regions, full_radius=full_radius, levels=levels or LEVELS)


def real_pixels(folder: ImageFolder, size: int | None) -> Tensor | None:
    """The pixels of images that are no padding, ``(N, 1, H, W)``, bool; ``None`` where no image is padded.

    Args:
        folder: The images.
        size: Side to which they are resized; a pixel that a real one has a part in is real. ``None``: not resized.
    """
    if all(file.padding is None for file in folder.files):
        return None
    rows = []
    for file in folder.files:
        image = read_image(file.path)
        everything = torch.ones_like(image[:1], dtype=torch.bool)
        real = everything if file.padding is None else file.padding.real_pixels(image, file.path)
        rows.append(real if size is None else resize_image(real.float(), size) > 0)
    return torch.stack(rows)


def encrypt_images(
    originals: Originals,
    key: EncryptionKey,
    network: nn.Module,
    folder: Path,
    *,
    workers: int,
    limit: TimeLimit,
    progress: Progress,
) -> ImageSet:
    """Encrypt all images; blocks that an earlier run left in the folder are read instead.

    Args:
        originals: What to encrypt.
        key: The key.
        network: The base network in evaluation mode.
        folder: For the blocks of this key.
        workers: Worker processes; 0 works in this process.
        limit: When to stop.
        progress: Receives progress.

    Raises:
        OutOfTimeError: The time has passed; finished blocks are kept.
    """
    starts = range(0, len(originals.images), _BLOCK)
    missing = [start for start in starts if not _path(folder, start).exists()]
    prepared = PreparedNetworks(steps=key.perturbation.steps)
    work = partial(_encrypt_block, originals, key, network, prepared, folder)
    with progress.stage("encrypting", len(originals.images)) as advance:
        advance(sum(len(_rows(originals, start)) for start in starts if start not in missing))
        if missing:
            kind = f"blocks of {key.perturbation.steps} steps"
            for count in limit.pieces(kind, map_in_workers(work, missing, workers), len(missing), workers):
                advance(count)
    encrypted = torch.empty_like(originals.images.images)
    for start in starts:
        encrypted[start : start + _BLOCK] = from_levels(np.load(_path(folder, start)))
    return replace(originals.images, images=encrypted)


def forget_blocks(folder: Path) -> None:
    """Delete the blocks of a key whose victims are all measured."""
    for path in folder.glob("block-*.npy"):
        path.unlink()


def to_levels(images: Tensor) -> NDArray[np.uint16]:
    """Pixels in [0, 1] as 16-bit integers."""
    levels: NDArray[np.uint16] = np.rint(images.double().cpu().numpy() * LEVELS).astype(np.uint16)
    return levels


def from_levels(levels: NDArray[np.uint16]) -> Tensor:
    """16-bit integers as pixels in [0, 1], float32."""
    return torch.from_numpy(levels.astype(np.float32) / np.float32(LEVELS))


def _path(folder: Path, start: int) -> Path:
    return folder / f"block-{start:05}.npy"


def _rows(originals: Originals, start: int) -> range:
    """The rows of the block that begins here; the last one may be shorter."""
    return range(start, min(start + _BLOCK, len(originals.images)))


def _encrypt_block(
    originals: Originals, key: EncryptionKey, network: nn.Module, prepared: PreparedNetworks, folder: Path, start: int
) -> int:
    """Encrypt one block and write it, rather than send it: a worker whose parent was killed could not end otherwise."""
    rows = _rows(originals, start)
    ready = prepared.get(network, tuple(originals.images.images.shape[1:]))
    buffer = io.BytesIO()
    np.save(buffer, to_levels(_encrypt(originals, key, ready, rows)))
    write_atomically(_path(folder, start), buffer.getvalue(), overwrite=True)
    return len(rows)


def _encrypt(originals: Originals, key: EncryptionKey, network: nn.Module, rows: Sequence[int]) -> Tensor:
    device, chosen = next(network.parameters()).device, torch.tensor(rows)
    images = originals.images.images[chosen]
    regions = None if originals.regions is None else originals.regions[chosen]
    try:
        encrypted = encrypt_batch(
            key,
            network,
            images.to(device),
            originals.images.labels[chosen].to(device),
            regions=None if regions is None else regions.to(device),
            scales=radius_shares(key.perturbation, images, regions, full_radius=originals.full_radius),
            levels=originals.levels,
        )
    except UnchangedError:
        if len(rows) == 1:  # Measured as it is: a recipient gets such an image unprotected, or not at all.
            return images
        half = len(rows) // 2
        return torch.cat([_encrypt(originals, key, network, part) for part in (rows[:half], rows[half:])])
    return encrypted.cpu()
