# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""List data sets as MONAI's dictionaries: ``{"image": path, "label": index, "id": name}``."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import torch
from monai.data import CacheDataset
from monai.data.utils import list_data_collate
from torch import nn

from monai_advenc.bundle.refusal import refuses_in_one_line
from monai_advenc.data.images.cifar10 import read_cifar10
from monai_advenc.data.images.folder import find_images, patients_of
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.writing import encode_image
from monai_advenc.errors import DatasetError, ImageError, NetworkError, OutputError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.files.folder_lock import FolderInUseError, FolderLock
from monai_advenc.files.parts import TEMPORARY_SUFFIX
from monai_advenc.networks.normalize import SMALLEST_STD, Standardize
from monai_advenc.transforms.load import LoadSlice

Item = dict[str, Any]

_WAIT_S: Final = 0.5
"""Seconds between two looks at what another process unpacks."""


@refuses_in_one_line
def image_items(folder: str, classes: Sequence[str]) -> list[Item]:
    """List the images of a folder: class subfolders, ``labels.csv``, or an encrypted data set.

    Args:
        folder: The folder.
        classes: Class names in the order of the network's outputs.

    Raises:
        DatasetError: There are no images, or a class is not in ``classes``.
    """
    found = find_images(Path(folder), classes)
    known = patients_of(found.files) is not None
    return [
        {"image": str(file.path), "label": file.label, "id": file.id, **({"patient": file.patient} if known else {})}
        for file in found.files
    ]


@refuses_in_one_line
def image_cache(
    data: Sequence[Item], transform: Callable[[Item], Item], num_workers: int | None = None, progress: bool = True
) -> CacheDataset:
    """Read all images into memory, so that a bad image is reported before training or testing.

    Args:
        data: Items with images to read or in memory.
        transform: Reads and changes images; its random parts are repeated in each epoch.
        num_workers: Number of reading threads.
        progress: Whether to show a progress bar.

    Raises:
        ImageError: An image cannot be read.
    """
    return CacheDataset(list(data), transform, num_workers=num_workers, progress=progress)


def collate_items(items: Sequence[Item]) -> Item:
    """Collate items with images ``(C, H, W)`` into one batch, as MONAI does.

    Args:
        items: Read from files, each with its image and its id.

    Raises:
        ImageError: The images differ in shape.
    """
    first = items[0]
    for item in items:
        shape, expected = tuple(item["image"].shape), tuple(first["image"].shape)
        if shape != expected:
            raise ImageError(
                f"image {item['id']!r} has shape {shape}, {first['id']!r} has {expected}; give --image_size to resize "
                "all, --gray true if some have colors, or --batch_size 1"
            )
    return cast("Item", list_data_collate(items))


@refuses_in_one_line
def cifar10_items(path: str, split: str) -> list[Item]:
    """Read CIFAR-10's ``"train"`` or ``"test"`` split into memory.

    Args:
        path: The archive or folder, see :func:`monai_advenc.data.images.cifar10.read_cifar10`.
        split: Name of the split.
    """
    images = dict(zip(("train", "test"), read_cifar10(Path(path)), strict=True))[split]
    rows = zip(images.images, images.labels.tolist(), images.ids, strict=True)
    return [{"image": image, "label": label, "id": name} for image, label, name in rows]


@refuses_in_one_line
def unpack_cifar10(path: str, split: str, folder: str) -> None:
    """Write CIFAR-10's ``"train"`` or ``"test"`` split as class folders of PNG files, unless the folder exists.

    Of several processes with one folder, as on several GPUs, one writes and the others wait.

    Args:
        path: The archive or folder, see :func:`monai_advenc.data.images.cifar10.read_cifar10`.
        split: Name of the split.
        folder: Folder to write; it appears when all images are written.

    Raises:
        OutputError: The folder cannot be written.
    """
    target = Path(folder)
    unfinished = target.with_name(f".{target.name}{TEMPORARY_SUFFIX}")
    while not target.exists():
        try:
            unfinished.mkdir(parents=True, exist_ok=True)
            with FolderLock(unfinished):
                if not target.exists():
                    _write_cifar10(path, split, unfinished / "files")
                    (unfinished / "files").rename(target)
                shutil.rmtree(unfinished, ignore_errors=True)
        except FolderInUseError:
            time.sleep(_WAIT_S)
        except (OutputError, OSError) as error:
            if target.exists():  # Another process has just finished and removed the locked folder.
                continue
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"cannot make {target}: {error.strerror}; choose another --dataset_dir") from None


def _write_cifar10(path: str, split: str, folder: Path) -> None:
    images = dict(zip(("train", "test"), read_cifar10(Path(path)), strict=True))[split]
    for image, label, name in zip(images.images, images.labels.tolist(), images.ids, strict=True):
        place = folder / images.classes[label] / f"{name}.png"
        write_atomically(place, encode_image(image, "png8"), overwrite=True)


@refuses_in_one_line
def require_every_class(items: Sequence[Item], classes: Sequence[str]) -> None:
    """Check that the training items contain every class.

    Raises:
        DatasetError: A class has no image.
    """
    there = {item["label"] for item in items}
    missing = [name for label, name in enumerate(classes) if label not in there]
    if missing:
        raise DatasetError(f"there is no training image of class {missing[0]!r}; add some, or remove it from --classes")


@refuses_in_one_line
def split_items(
    items: Sequence[Item], share: float, seed: int = 0, classes: Sequence[str] | None = None
) -> tuple[list[Item], list[Item]]:
    """Split items at random by class and patient, as ``monai-advenc train-base`` does.

    Args:
        items: Items with labels from 0.
        share: Share of each class for the second part.
        seed: Seed of the split.
        classes: Class names in the order of the labels, all of which must occur; ``None``: unnamed classes, as many as
            there are labels.

    Raises:
        DatasetError: A class has fewer than two items.
    """
    if not items:
        raise DatasetError("there are no images to split; check the folder")
    labels = torch.tensor([item["label"] for item in items])
    places = torch.zeros(len(items), 1, 1, 1)
    names = tuple(classes or (f"number {number}" for number in range(int(labels.max()) + 1)))
    rows = tuple(str(row) for row in range(len(items)))
    patients = tuple(item["patient"] for item in items) if "patient" in items[0] else None
    parts = ImageSet(places, labels, rows, names, patients=patients).split(share, seed)
    first, second = ([items[int(row)] for row in part.ids] for part in parts)
    return first, second


@refuses_in_one_line
def standardize(network: nn.Module, items: Sequence[Item], load: LoadSlice) -> None:
    """Set a network's first layer to the mean and standard deviation of its training images.

    Args:
        network: From :func:`monai_advenc.networks.get_network`; its first layer is changed in place.
        items: The training images.
        load: Transform that reads them.

    Raises:
        DatasetError: There are no images.
        NetworkError: The network has no such layer.
    """
    if not items:
        raise DatasetError("there are no training images; check the folder")
    first = next((module for module in network.modules() if isinstance(module, Standardize)), None)
    if first is None:
        raise NetworkError(
            "network_def has no layer that standardizes its images; choose a network of build_network with --network"
        )
    count, total, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for item in items:
        image = load(item["image"]).double().flatten(1)
        count += image.shape[1]
        total = total + image.sum(dim=1)
        squares = squares + image.square().sum(dim=1)
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt().clamp_min(SMALLEST_STD)
    first.mean.copy_(mean.view(1, -1, 1, 1))
    first.std.copy_(std.view(1, -1, 1, 1))
