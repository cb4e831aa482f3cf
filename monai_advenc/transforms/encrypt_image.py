# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""MONAI transforms that perturb and combine in one step: an image in, its encrypted image out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import Precision
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.transforms.combine import CombineVersions
from monai_advenc.transforms.encrypt import AdversarialEncrypt


class EncryptImage(Transform):
    """Encrypt an image in one transform: :class:`AdversarialEncrypt`, then :class:`CombineVersions`.

    Args:
        network: See :class:`AdversarialEncrypt`.
        encryption_key: The key, or the path of its file.
        levels: Steps of the output file's grid (65535 for 16-bit); ``None`` keeps float32.
        batched: Whether images are collated, ``(N, C, H, W)`` with N labels.
        precision: See :class:`AdversarialEncrypt`.
        full_radius: See :class:`AdversarialEncrypt`.
        insist: See :class:`AdversarialEncrypt`.
        batch_size: See :class:`AdversarialEncrypt`.

    Raises:
        KeyFileError: The key file cannot be used.
        NetworkError: The checkpoint cannot be used, has other classes than the key, or has learned nothing.
        SettingsError: The precision is unknown, or ``levels`` or ``batch_size`` is below 1.

    Example:
        >>> from monai_advenc import EncryptImage
        >>> encrypt = EncryptImage("base.pt", "key.json", levels=65535)
        >>> image = torch.rand(1, 32, 32)
        >>> distance = (encrypt(image, label="meningioma") - image).norm()
        >>> 0.1 < float(distance) < 1.01  # The key's radius at this size is 1, and the file's grid rounds.
        True
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        network: nn.Module | str | Path,
        encryption_key: EncryptionKey | str | Path,
        levels: int | None = None,
        batched: bool = False,
        precision: Precision = "auto",
        full_radius: bool = False,
        insist: bool = False,
        batch_size: int | None = None,
    ) -> None:
        self.perturb = AdversarialEncrypt(network, encryption_key, batched, precision, batch_size, full_radius, insist)
        self.combine = CombineVersions(self.perturb.encryption_key, levels, batched)

    def __call__(  # type: ignore[override]  # MONAI's base class knows one argument, its own transforms take more.
        self,
        image: Any,
        label: int | str | Tensor | Sequence[int | str],
        region: Any | None = None,
        unit: float | Tensor | Sequence[float] | None = None,
    ) -> Tensor:
        """Encrypt.

        Args:
            image: ``(C, H, W)`` in [0, 1], or ``(N, C, H, W)`` when ``batched``.
            label: Its class, by number or name; ``(N,)`` when ``batched``.
            region: Binary mask ``(1, H, W)`` of pixels that may change, or ``(N, 1, H, W)``.
            unit: See :meth:`CombineVersions.__call__`.

        Returns:
            Encrypted image, the shape of ``image``, float32, with its metadata.

        Raises:
            DatasetError: The key has no such class.
            DeviceMemoryError: The memory of the GPU is too small.
            ImageError: Pixels are NaN or outside [0, 1], the file's grid is too coarse for the radius, or the key's
                radius depends on the noise and there is none.
            NetworkError: The network of a checkpoint was trained at another size than that of ``image``, or the network
                does not fit the key or the image.
            SettingsError: ``image``, ``region`` or ``unit`` has other axes, another grid or another number of rows.
            UnchangedError: The image came out unchanged.
        """
        scale = self.perturb.scale_of(image, region)
        return self.combine(self.perturb(image, label, region), image, label, unit, scale)


class EncryptImaged(MapTransform):
    """Dictionary version of :class:`EncryptImage`.

    Args:
        keys: Keys of the images.
        label_key: Key of the class, by number or name; not changed.
        network: See :class:`AdversarialEncrypt`.
        encryption_key: See :class:`EncryptImage`.
        region_key: Key of a binary mask of pixels that may change; ``None``: all may.
        levels: See :class:`EncryptImage`.
        batched: See :class:`EncryptImage`.
        precision: See :class:`EncryptImage`.
        allow_missing_keys: Whether to skip keys that a sample lacks.
        unit_key: Key of the size of one stored unit, instead of ``levels``; see :meth:`CombineVersions.__call__`.
        full_radius: See :class:`EncryptImage`.
        insist: See :class:`EncryptImage`.
        batch_size: See :class:`EncryptImage`.

    Example:
        >>> from monai_advenc import EncryptImaged
        >>> encrypt = EncryptImaged("image", network="base.pt", encryption_key="key.json", levels=65535)
        >>> sample = {"image": torch.rand(1, 32, 32), "label": "meningioma"}
        >>> encrypted = encrypt(sample)
        >>> 0.1 < float((encrypted["image"] - sample["image"]).norm()) < 1.01, encrypted["label"]  # The radius is 1.
        (True, 'meningioma')
    """

    backend = EncryptImage.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_key: Hashable = "label",
        *,
        network: nn.Module | str | Path,
        encryption_key: EncryptionKey | str | Path,
        region_key: Hashable | None = None,
        levels: int | None = None,
        batched: bool = False,
        precision: Precision = "auto",
        allow_missing_keys: bool = False,
        unit_key: Hashable | None = None,
        full_radius: bool = False,
        insist: bool = False,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_key = label_key
        self.region_key = region_key
        self.unit_key = unit_key
        self.encrypt = EncryptImage(
            network, encryption_key, levels, batched, precision, full_radius, insist, batch_size
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each key's image by its encrypted image.

        Args:
            data: A sample: images ``(C, H, W)`` in [0, 1] at the keys, and their class; if ``batched``,
                ``(N, C, H, W)``.

        Returns:
            A copy, with the encrypted image of the same shape at each key.

        Errors are those of :meth:`EncryptImage.__call__`.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            region = None if self.region_key is None else result[self.region_key]
            unit = None if self.unit_key is None else result[self.unit_key]
            result[key] = self.encrypt(result[key], result[self.label_key], region, unit)
        return result


EncryptImageD = EncryptImageDict = EncryptImaged
