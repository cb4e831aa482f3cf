# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Load and check the inputs of the transforms: keys, base networks, labels and images."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_dst_type, convert_to_tensor
from numpy.typing import NDArray
from torch import Tensor

from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import DatasetError, SettingsError
from monai_advenc.files.names import comparable
from monai_advenc.networks.training.checkpoint import Checkpoint, load_checkpoint
from monai_advenc.networks.training.learned import require_learned
from monai_advenc.progress import ConsoleProgress


def label_indices(
    labels: int | str | Tensor | Sequence[int | str] | NDArray[np.generic], classes: Sequence[str]
) -> Tensor:
    """Convert labels, by number or class name, one or a batch, to int64 ``(N,)``.

    Raises:
        DatasetError: A class name is unknown to the key, a number is not whole, numbers are given although the classes'
            names are other numbers, or there is no label.
    """
    if isinstance(labels, str | Integral):
        labels = [labels]
    if isinstance(labels, np.ndarray):
        labels = np.atleast_1d(labels).tolist()
    if not isinstance(labels, Tensor | Sequence):
        raise DatasetError(f"expected a class by number or name, or several of them, got {labels!r}")
    if isinstance(labels, Tensor) or not any(isinstance(label, str) for label in labels):
        numbers = torch.as_tensor(labels).as_subclass(torch.Tensor).flatten().cpu()
        if numbers.is_floating_point() and (numbers != numbers.long()).any():
            raise DatasetError(f"expected whole numbers as classes, got {numbers.tolist()}")
        if not numbers_are_places(classes):
            raise DatasetError(
                f"expected class names, because those of the key are numbers in another order ({', '.join(classes)}), "
                f"got {numbers.tolist()[:3]}; give names, such as {classes[0]!r}"
            )
        return numbers.long()
    number_of = {comparable(name): number for number, name in enumerate(classes)}
    unknown = sorted({str(label) for label in labels if comparable(str(label)) not in number_of})
    if unknown:
        raise DatasetError(f"unknown class {unknown[0]!r}; the key is for {', '.join(classes)}")
    return torch.tensor([number_of[comparable(str(label))] for label in labels])


def numbers_are_places(classes: Sequence[str]) -> bool:
    """Whether no class is named by the number of another one, as ``1, 2, 3`` are, or ``0, 1, 10, 11, 2``."""
    return all(int(name) == place for place, name in enumerate(classes) if name.strip().isdecimal())


def load_key(encryption_key: EncryptionKey | str | Path) -> EncryptionKey:
    """Return the key, or load it from the file at that path."""
    return encryption_key if isinstance(encryption_key, EncryptionKey) else EncryptionKey.load(Path(encryption_key))


def load_base(path: str | Path, key: EncryptionKey, *, insist: bool = False) -> Checkpoint:
    """Load the base network of a file.

    Args:
        path: The file.
        key: The key.
        insist: Only warn, on stderr, of a network that has learned nothing.

    Raises:
        NetworkError: It cannot be used, is not for the classes of the key, or has learned nothing, or its file does
            not say what it has learned.
    """
    checkpoint = load_checkpoint(Path(path))
    key.require_base(checkpoint.classes, checkpoint.notes)
    require_learned(checkpoint, Path(path), insist=insist, progress=ConsoleProgress())
    return checkpoint


def require_batch_size(batch_size: int | None) -> int | None:
    """Return the number of versions per pass; raise :class:`SettingsError` if it is below 1."""
    if batch_size is not None and batch_size < 1:
        raise SettingsError(f"expected a batch_size of 1 or more, got {batch_size}")
    return batch_size


def plain_batch(image: Any, batched: bool, axes: str = "C, H, W") -> Tensor:
    """Convert an image or batch to a float32 batch without metadata; ``(C, H, W)`` gets a batch axis.

    Raises:
        SettingsError: The axes are others, as of a volume, or of a batch instead of an image.
    """
    tensor: Tensor = convert_to_tensor(image, dtype=torch.float32, track_meta=False).detach().as_subclass(torch.Tensor)
    expected = f"N, {axes}" if batched else axes
    if tensor.ndim != len(expected.split(", ")):
        raise SettingsError(
            f"expected ({expected}), got {tuple(tensor.shape)}; use batched=True for collated images, and "
            "LargestCrossSectiond to cut a slice from a volume"
        )
    return tensor if batched else tensor[None]


def like(result: Tensor, image: Any) -> Tensor:
    """Convert ``result`` to the type of ``image`` with its metadata; always float32."""
    converted: Tensor = convert_to_dst_type(result, dst=image, dtype=torch.float32)[0]
    return converted
