# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""MONAI transforms that perturb images toward the targets of their class."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor, nn

from monai_advenc.acceleration.kept_networks import PreparedNetworks
from monai_advenc.acceleration.prepare import Precision
from monai_advenc.acceleration.processor import device_of
from monai_advenc.encryption.encrypt_batch import perturb_toward_targets
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.radius import radius_shares
from monai_advenc.networks.training.learned import require_size
from monai_advenc.progress import SILENT
from monai_advenc.transforms.inputs import label_indices, like, load_base, load_key, plain_batch, require_batch_size

ORIGINAL_POSTFIX = "original"
"""Suffix of the original's key, which combining needs to stay within the radius."""

SCALE_POSTFIX = "radius_scale"
"""Suffix of the key of the radius's share, which combining needs where an image does not get all of it."""


class AdversarialEncrypt(Transform):
    """Perturb an image toward each target of its class (sections 3.1 and 4.1): one image in, its versions out.

    The result depends only on image, label and key, so MONAI may cache it. The bytes are those of
    :func:`monai_advenc.encryption.encrypt_batch.perturb_toward_targets`, alone or in a batch: the same on one kind of
    processor, and on GPUs for the same model, software and batch size. Elsewhere radius and checks are the same.

    Args:
        network: The base network, mapping images in [0, 1] to logits, on its own device; or the path of a checkpoint of
            ``monai-advenc train-base``, whose network is moved to the images' device.
        encryption_key: The key, or the path of its file.
        batched: Whether images are collated, ``(N, C, H, W)`` with N labels.
        precision: ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"int8"``; see
            :func:`monai_advenc.acceleration.prepare.prepare`.
        batch_size: Versions that go through the network together; ``None``: as in all commands, 8 on a CPU and as many
            as fill a pass on a GPU (:class:`monai_advenc.perturbation.batch_size.BatchSize`). Fewer are padded.
        full_radius: Whether to put the key's whole radius into a region, however small. By default it shrinks with the
            root of the region's share of pixels, as in ``monai-advenc encrypt --region``.
        insist: Use a checkpoint whose network is not better than chance on images it was not trained on, or images of
            another size than it was trained at.

    Raises:
        KeyFileError: The key file cannot be used.
        NetworkError: The checkpoint cannot be used, has other classes than the key, or has learned nothing.
        SettingsError: The precision is unknown, or ``batch_size`` is below 1.

    Example:
        >>> from monai_advenc import AdversarialEncrypt
        >>> perturb = AdversarialEncrypt("base.pt", "key.json")
        >>> perturb(torch.rand(1, 32, 32), label="meningioma").shape  # One version for each of two targets.
        torch.Size([2, 1, 32, 32])
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        network: nn.Module | str | Path,
        encryption_key: EncryptionKey | str | Path,
        batched: bool = False,
        precision: Precision = "auto",
        batch_size: int | None = None,
        full_radius: bool = False,
        insist: bool = False,
    ) -> None:
        self.encryption_key = load_key(encryption_key)
        if isinstance(network, nn.Module):
            self.network, self._own, self._path = network, None, None
        else:
            self._own, self._path = load_base(network, self.encryption_key, insist=insist), Path(network)
            self.network = self._own.network
        self._insists = insist
        self.batched = batched
        self.batch_size = require_batch_size(batch_size)
        self.full_radius = full_radius
        self._prepared = PreparedNetworks(precision, self.encryption_key.perturbation.steps)

    def __call__(  # type: ignore[override]  # MONAI's base class knows one argument, its own transforms take more.
        self, image: Any, label: int | str | Tensor | Sequence[int | str], region: Any | None = None
    ) -> Tensor:
        """Perturb.

        Args:
            image: ``(C, H, W)`` in [0, 1], or ``(N, C, H, W)`` when ``batched``.
            label: Its class, by number or name; ``(N,)`` when ``batched``.
            region: Binary mask ``(1, H, W)`` of pixels that may change, or ``(N, 1, H, W)``.

        Returns:
            Versions ``(T, C, H, W)``, or ``(N, T, C, H, W)``; float32, with the metadata of ``image``.

        Raises:
            DatasetError: The key has no such class.
            DeviceMemoryError: The memory of the GPU is too small.
            ImageError: Pixels are NaN or outside [0, 1], or the key's radius depends on the noise and there is none.
            NetworkError: The network of a checkpoint was trained at another size than that of ``image``, or the network
                does not fit the key or the image.
            SettingsError: ``image`` or ``region`` has other axes or another grid.
        """
        images = plain_batch(image, self.batched)
        regions = None if region is None else plain_batch(region, self.batched).bool()
        if self._own is not None and self._path is not None:
            self.network.to(images.device)
            if not self._insists:
                side = max(images.shape[-2:])
                require_size(self._own, self._path, side, insist=False, progress=SILENT)
        scales = self._shares_of(images, regions)
        place = device_of(self.network)
        versions = perturb_toward_targets(
            self.encryption_key,
            self._prepared.get(self.network, tuple(images.shape[1:])),
            images.to(place),
            label_indices(label, self.encryption_key.classes).to(place),
            regions=None if regions is None else regions.to(place),
            scales=None if scales is None else scales.to(place),
            batch_size=self.batch_size,
        )
        return like(versions if self.batched else versions[0], image)

    def scale_of(self, image: Any, region: Any | None = None) -> float | Tensor | None:
        """The share of the key's radius that an image gets, which the combiner needs.

        Args:
            image: As for :meth:`AdversarialEncrypt.__call__`.
            region: As for :meth:`AdversarialEncrypt.__call__`.

        Returns:
            A number in (0, 1], or ``(N,)``, float64, when ``batched``; ``None``: all of the radius.

        Raises:
            ImageError: The key's radius depends on the noise, and an image has none.
            SettingsError: ``image`` or ``region`` has other axes.
        """
        regions = None if region is None else plain_batch(region, self.batched).bool()
        scales = self._shares_of(plain_batch(image, self.batched), regions)
        return scales if scales is None or self.batched else float(scales)

    def _shares_of(self, images: Tensor, regions: Tensor | None) -> Tensor | None:
        settings = self.encryption_key.perturbation
        return radius_shares(settings, images, regions, full_radius=self.full_radius)


class AdversarialEncryptd(MapTransform):
    """Dictionary version of :class:`AdversarialEncrypt`.

    The versions replace the image at each key; the original stays under ``<key>_original`` for the following combiner
    (:class:`~monai_advenc.transforms.ConcatCombined` or :class:`~monai_advenc.transforms.MixupConcatd`). With a region,
    or a radius by noise, the share of the radius stays under ``<key>_radius_scale`` for the combiner.

    Args:
        keys: Keys of the images.
        label_key: Key of the class, by number or name; not changed.
        network: See :class:`AdversarialEncrypt`.
        encryption_key: See :class:`AdversarialEncrypt`.
        region_key: Key of a binary mask of pixels that may change; ``None``: all may.
        batched: See :class:`AdversarialEncrypt`.
        precision: See :class:`AdversarialEncrypt`.
        batch_size: See :class:`AdversarialEncrypt`.
        allow_missing_keys: Whether to skip keys that a sample lacks.
        full_radius: See :class:`AdversarialEncrypt`.
        insist: See :class:`AdversarialEncrypt`.

    Example:
        >>> from monai_advenc import AdversarialEncryptd
        >>> perturb = AdversarialEncryptd("image", network="base.pt", encryption_key="key.json")
        >>> sorted(perturb({"image": torch.rand(1, 32, 32), "label": 0}))
        ['image', 'image_original', 'label']
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
        batch_size: int | None = None,
        allow_missing_keys: bool = False,
        full_radius: bool = False,
        insist: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_key = label_key
        self.region_key = region_key
        self.encrypt = AdversarialEncrypt(network, encryption_key, batched, precision, batch_size, full_radius, insist)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each key's image by its versions.

        Args:
            data: A sample: images ``(C, H, W)`` in [0, 1] at the keys, and their class; if ``batched``,
                ``(N, C, H, W)``.

        Returns:
            A copy, with ``(T, C, H, W)`` or ``(N, T, C, H, W)`` at each key, and the originals.

        Errors are those of :meth:`AdversarialEncrypt.__call__`.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            region = None if self.region_key is None else result[self.region_key]
            result[f"{key}_{ORIGINAL_POSTFIX}"] = result[key]
            scale = self.encrypt.scale_of(result[key], region)
            if scale is not None:
                result[f"{key}_{SCALE_POSTFIX}"] = scale
            result[key] = self.encrypt(result[key], result[self.label_key], region)
        return result


AdversarialEncryptD = AdversarialEncryptDict = AdversarialEncryptd
