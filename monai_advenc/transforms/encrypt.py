# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Perturbing images toward the targets of their class, as MONAI transforms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor
from numpy.typing import NDArray
from torch import Tensor, nn

from monai_advenc.acceleration import Precision, device_of
from monai_advenc.encryption import BATCH_SIZE, perturb_toward_targets
from monai_advenc.errors import DatasetError, SettingsError
from monai_advenc.key import EncryptionKey
from monai_advenc.prepared_networks import PreparedNetworks
from monai_advenc.training.checkpoint import load_checkpoint

ORIGINAL_POSTFIX = "original"
"""``image`` keeps its original under ``image_original``: combining needs it to stay within the radius of it."""


def label_indices(
    labels: int | str | Tensor | Sequence[int | str] | NDArray[np.generic], classes: Sequence[str]
) -> Tensor:
    """Labels, as numbers or class names, one or a batch of them, as int64 ``(N,)``.

    Raises:
        DatasetError: A class name that the key does not know, a number between two classes, or no label at all.
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
            raise DatasetError(f"expected classes by their whole numbers, got {numbers.tolist()}")
        return numbers.long()
    unknown = sorted({str(label) for label in labels if label not in classes})
    if unknown:
        raise DatasetError(f"unknown class {unknown[0]!r}; the key is for {', '.join(classes)}")
    return torch.tensor([classes.index(str(label)) for label in labels])


class AdversarialEncrypt(Transform):
    """Perturb an image toward each target of its class (sections 3.1 and 4.1): one image in, its versions out.

    Deterministic for an image, label and key, so MONAI may cache it. The same bytes as
    :func:`monai_advenc.encryption.perturb_toward_targets`, alone or in a batch.

    Args:
        network: The base network, taking images in [0, 1] and returning logits, which stays where it is; or the path
            of a checkpoint that ``monai-advenc train-base`` wrote, whose network goes where the images are.
        encryption_key: The key, or the path of its file.
        batched: Whether images come collated, ``(N, C, H, W)`` with N labels, instead of one by one.
        precision: ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"int8"``; see :func:`monai_advenc.acceleration.prepare`.
        batch_size: Versions that go through the network together.

    Raises:
        KeyFileError: The key file cannot be used.
        NetworkError: The checkpoint cannot be used, or is of other classes than the key.
        SettingsError: An unknown precision, or no images to a batch.
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        network: nn.Module | str | Path,
        encryption_key: EncryptionKey | str | Path,
        batched: bool = False,
        precision: Precision = "auto",
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self.encryption_key = load_key(encryption_key)
        self._is_own_network = not isinstance(network, nn.Module)
        self.network = network if isinstance(network, nn.Module) else load_base(network, self.encryption_key)
        self.batched = batched
        self.batch_size = require_batch_size(batch_size)
        self._prepared = PreparedNetworks(precision, self.encryption_key.perturbation.steps)

    def __call__(  # type: ignore[override]  # MONAI's base class knows one argument, its own transforms take more.
        self, image: Any, label: int | str | Tensor | Sequence[int | str], region: Any | None = None
    ) -> Tensor:
        """Perturb.

        Args:
            image: ``(C, H, W)`` in [0, 1], or ``(N, C, H, W)`` when ``batched``.
            label: Its class, by number or name; N of them when ``batched``.
            region: Binary mask ``(1, H, W)`` of pixels that may change, or ``(N, 1, H, W)``.

        Returns:
            Versions ``(T, C, H, W)``, or ``(N, T, C, H, W)``; float32, with the metadata of ``image``.
        """
        images = plain_batch(image, self.batched)
        if self._is_own_network:
            self.network.to(images.device)
        place = device_of(self.network)
        versions = perturb_toward_targets(
            self.encryption_key,
            self._prepared.get(self.network, tuple(images.shape[1:])),
            images.to(place),
            label_indices(label, self.encryption_key.classes).to(place),
            regions=None if region is None else plain_batch(region, self.batched).bool().to(place),
            batch_size=self.batch_size,
        )
        return like(versions if self.batched else versions[0], image)


class AdversarialEncryptd(MapTransform):
    """Dictionary version of :class:`AdversarialEncrypt`.

    Each key gets its versions; its original stays under ``<key>_original`` for the combiner that follows
    (:class:`~monai_advenc.transforms.ConcatCombined` or :class:`~monai_advenc.transforms.MixupConcatd`).

    Args:
        keys: Keys of the images.
        label_key: Key of the class, by number or name; read, never changed.
        network: See :class:`AdversarialEncrypt`.
        encryption_key: See :class:`AdversarialEncrypt`.
        region_key: Key of a binary mask of pixels that may change; ``None``: all may.
        batched: See :class:`AdversarialEncrypt`.
        precision: See :class:`AdversarialEncrypt`.
        batch_size: See :class:`AdversarialEncrypt`.
        allow_missing_keys: Skip keys that a sample does not have.
    """

    backend = AdversarialEncrypt.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_key: Hashable = "label",
        *,
        network: nn.Module | str | Path,
        encryption_key: EncryptionKey | str | Path,
        region_key: Hashable | None = None,
        batched: bool = False,
        precision: Precision = "auto",
        batch_size: int = BATCH_SIZE,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_key = label_key
        self.region_key = region_key
        self.encrypt = AdversarialEncrypt(network, encryption_key, batched, precision, batch_size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each key's image by its versions."""
        result = dict(data)
        for key in self.key_iterator(result):
            region = None if self.region_key is None else result[self.region_key]
            result[f"{key}_{ORIGINAL_POSTFIX}"] = result[key]
            result[key] = self.encrypt(result[key], result[self.label_key], region)
        return result


def load_key(encryption_key: EncryptionKey | str | Path) -> EncryptionKey:
    """The key itself, or the one in the file at that path."""
    return encryption_key if isinstance(encryption_key, EncryptionKey) else EncryptionKey.load(Path(encryption_key))


def load_base(path: str | Path, key: EncryptionKey) -> nn.Module:
    """The base network in a file; :class:`NetworkError` if it is not for the classes of the key."""
    checkpoint = load_checkpoint(Path(path))
    key.require_classes(checkpoint.classes)
    return checkpoint.network


def require_batch_size(batch_size: int) -> int:
    """The number of versions per pass; :class:`SettingsError` unless it is 1 or more."""
    if batch_size < 1:
        raise SettingsError(f"expected a batch_size of 1 or more, got {batch_size}")
    return batch_size


def plain_batch(image: Any, batched: bool, axes: str = "C, H, W") -> Tensor:
    """A float32 batch without metadata: ``(C, H, W)`` gets a batch axis.

    Raises:
        SettingsError: An image of other axes, such as a volume, or a batch of them where one was expected.
    """
    tensor: Tensor = convert_to_tensor(image, dtype=torch.float32, track_meta=False).detach().as_subclass(torch.Tensor)
    expected = f"N, {axes}" if batched else axes
    if tensor.ndim != len(expected.split(", ")):
        raise SettingsError(
            f"expected ({expected}), got {tuple(tensor.shape)}; batched=True is for collated images, and of a volume "
            "LargestCrossSectiond takes a slice"
        )
    return tensor if batched else tensor[None]


def like(result: Tensor, image: Any) -> Tensor:
    """``result`` as the type of ``image``, with its metadata; always float32."""
    converted: Tensor = convert_to_dst_type(result, dst=image, dtype=torch.float32)[0]
    return converted


AdversarialEncryptD = AdversarialEncryptDict = AdversarialEncryptd
