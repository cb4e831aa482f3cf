# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""MONAI inferer that returns encrypted images, for engines and bundles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.inferers import Inferer
from torch import Tensor, nn

from monai_advenc.acceleration.kept_networks import PreparedNetworks
from monai_advenc.acceleration.prepare import Precision
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.radius import radius_shares
from monai_advenc.encryption.rounding import require_levels
from monai_advenc.errors import SettingsError
from monai_advenc.transforms.combine import per_image
from monai_advenc.transforms.inputs import label_indices, like, load_key, plain_batch, require_batch_size


class EncryptionInferer(Inferer):
    """Encrypt a batch of images with the evaluator's network as base network.

    Inside a :class:`monai.engines.SupervisedEvaluator` the labels arrive through
    ``PrepareBatchExtraInput(extra_keys={"target": "label"})``. It enables gradients itself, so it works under the
    evaluator's ``no_grad``. Keep the evaluator's ``amp`` off, because this class chooses the precision.

    Args:
        encryption_key: The key, or the path of its file.
        levels: Steps of the output file's grid (65535 for 16-bit); ``None`` keeps float32.
        precision: ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"int8"``; see
            :func:`monai_advenc.acceleration.prepare.prepare`.
        batch_size: See :class:`~monai_advenc.transforms.AdversarialEncrypt`.
        full_radius: Whether to put the key's whole radius into a region, however small; see
            :class:`~monai_advenc.transforms.AdversarialEncrypt`.

    Raises:
        KeyFileError: The key file cannot be used.
        SettingsError: The precision is unknown, or ``levels`` or ``batch_size`` is below 1.

    Example:
        >>> from monai_advenc import EncryptionInferer
        >>> encrypt = EncryptionInferer("key.json", levels=65535)
        >>> images, classes = torch.rand(4, 1, 32, 32), torch.tensor([0, 1, 2, 0])
        >>> changes = encrypt(images, network, target=classes) - images
        >>> [0.1 < float(change.norm()) < 1.01 for change in changes]  # The key's radius at this size is 1.
        [True, True, True, True]
    """

    def __init__(
        self,
        encryption_key: EncryptionKey | str | Path,
        levels: int | None = None,
        precision: Precision = "auto",
        batch_size: int | None = None,
        full_radius: bool = False,
    ) -> None:
        super().__init__()
        self.encryption_key = load_key(encryption_key)
        self.levels = require_levels(levels)
        self.batch_size = require_batch_size(batch_size)
        self.full_radius = full_radius
        self._prepared = PreparedNetworks(precision, self.encryption_key.perturbation.steps)

    def precision_for(self, network: nn.Module, image_shape: tuple[int, ...]) -> Precision:
        """Precision that a network is computed in.

        Args:
            network: The base network.
            image_shape: ``(C, H, W)`` of the images.

        Errors are those of :func:`monai_advenc.prepare`.
        """
        return self._prepared.get(network, image_shape).precision

    def __call__(  # type: ignore[override]  # A base network is a module, not any callable: it is copied and folded.
        self,
        inputs: Tensor,
        network: nn.Module,
        *args: Any,
        target: Tensor | Sequence[int | str] | None = None,
        unit: Tensor | None = None,
        region: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Encrypt.

        Args:
            inputs: Originals ``(N, C, H, W)`` in [0, 1].
            network: The base network.
            args: Not used.
            target: True classes ``(N,)``, by number or name.
            unit: Size of one stored unit of each image ``(N,)``, instead of ``levels``, for originals on their files'
                grid; see :func:`monai_advenc.encrypt_batch`.
            region: Binary masks ``(N, 1, H, W)`` of the pixels that may change; ``None``: all may.
            kwargs: Not used.

        Returns:
            Encrypted images, the shape of ``inputs``, float32, with their metadata.

        Raises:
            DatasetError: The key has no class for a label.
            DeviceMemoryError: The memory of the GPU is too small.
            ImageError: Pixels are NaN or outside [0, 1], the file's grid is too coarse for the radius, or the key's
                radius depends on the noise and an image has none.
            NetworkError: The network is in training mode, or does not fit the key or the images.
            SettingsError: No labels were given, or ``inputs``, ``region`` or ``unit`` have other axes, another grid or
                another number of rows.
            UnchangedError: An image came out unchanged.
        """
        if target is None:
            raise SettingsError(
                "encryption needs the true labels; use PrepareBatchExtraInput with extra_keys {'target': 'label'}"
            )
        images = plain_batch(inputs, batched=True)
        regions = None if region is None else plain_batch(region, batched=True).bool()
        settings = self.encryption_key.perturbation
        scales = radius_shares(settings, images, regions, full_radius=self.full_radius)
        encrypted = encrypt_batch(
            self.encryption_key,
            self._prepared.get(network, tuple(images.shape[1:])),
            images,
            label_indices(target, self.encryption_key.classes).to(images.device),
            regions=None if regions is None else regions.to(images.device),
            scales=None if scales is None else scales.to(images.device),
            levels=self.levels,
            unit=per_image(unit),
            batch_size=self.batch_size,
        )
        return like(encrypted, inputs) if len(inputs) else encrypted
