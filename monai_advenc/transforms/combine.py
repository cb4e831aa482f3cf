# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""MONAI transforms that combine the versions of an image into the encrypted image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor

from monai_advenc.encryption.encrypt_batch import combine_versions
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.rounding import require_levels
from monai_advenc.errors import SettingsError
from monai_advenc.transforms.encrypt import ORIGINAL_POSTFIX, SCALE_POSTFIX
from monai_advenc.transforms.inputs import label_indices, like, load_key, plain_batch


class CombineVersions(Transform):
    """Combine the versions of an image with the key's combiner, and round the result to a file's grid.

    Args:
        encryption_key: The key, or the path of its file.
        levels: Steps of the output file's grid (65535 for 16-bit); ``None`` keeps float32.
        batched: Whether versions are collated, ``(N, T, C, H, W)``.

    Raises:
        KeyFileError: The key file cannot be used.
        SettingsError: The key is for a combiner that this class does not handle, or the grid has no steps.

    Example:
        >>> from monai_advenc import AdversarialEncrypt, CombineVersions
        >>> image = torch.rand(1, 32, 32)
        >>> versions = AdversarialEncrypt("base.pt", "key.json")(image, label="meningioma")
        >>> CombineVersions("key.json", levels=65535)(versions, image, label="meningioma").shape
        torch.Size([1, 32, 32])
    """

    backend = [TransformBackends.TORCH]
    combiners: ClassVar[tuple[str, ...] | None] = None

    def __init__(
        self, encryption_key: EncryptionKey | str | Path, levels: int | None = None, batched: bool = False
    ) -> None:
        self.encryption_key = load_key(encryption_key)
        self.levels = require_levels(levels)
        self.batched = batched
        if self.combiners is not None and self.encryption_key.combiner.name not in self.combiners:
            # The message must not name the key's combiner, which is part of the secret.
            raise SettingsError(
                f"this key is for a combiner that {type(self).__name__} does not handle; use CombineVersions, which "
                "takes any"
            )

    def __call__(  # type: ignore[override]  # MONAI's base class knows one argument, its own transforms take more.
        self,
        versions: Any,
        original: Any,
        label: int | str | Tensor | Sequence[int | str],
        unit: float | Tensor | Sequence[float] | None = None,
        scale: float | Tensor | Sequence[float] | None = None,
    ) -> Tensor:
        """Combine.

        Args:
            versions: ``(T, C, H, W)``, or ``(N, T, C, H, W)`` when ``batched``.
            original: The image before perturbation, ``(C, H, W)`` or ``(N, C, H, W)``.
            label: Its class, by number or name; ``(N,)`` when ``batched``.
            unit: Size of one stored unit on the [0, 1] scale, for an original on its file's own grid (DICOM, scaled
                NIfTI) instead of the grid of ``levels``; ``(N,)`` when ``batched``.
            scale: Share of the key's radius, from :meth:`AdversarialEncrypt.scale_of`; ``(N,)`` when ``batched``.
                ``None``: all of it.

        Returns:
            Encrypted image ``(C, H, W)`` or ``(N, C, H, W)``, float32, with the metadata of ``original``.

        Raises:
            DatasetError: The key has no such class.
            ImageError: The grid is too coarse for the key's radius.
            SettingsError: Axes or the number of versions do not fit, or ``unit`` is given besides ``levels``.
            UnchangedError: The image comes out unchanged.
        """
        images = plain_batch(original, self.batched)
        encrypted = combine_versions(
            self.encryption_key,
            images,
            plain_batch(versions, self.batched, "T, C, H, W"),
            label_indices(label, self.encryption_key.classes).to(images.device),
            scales=per_image(scale),
            levels=self.levels,
            unit=per_image(unit),
        )
        return like(encrypted if self.batched else encrypted[0], original)


def per_image(numbers: float | Tensor | Sequence[float] | None) -> Tensor | None:
    """Convert one number for each image, such as sizes of stored units, to ``(N,)``, float64."""
    return (
        None if numbers is None else torch.as_tensor(numbers, dtype=torch.float64).as_subclass(torch.Tensor).flatten()
    )


class ConcatCombine(CombineVersions):
    """Horizontal Concat (section 4.2.1): see :class:`CombineVersions`.

    Example:
        >>> from monai_advenc import AdversarialEncrypt, ConcatCombine
        >>> image = torch.rand(1, 32, 32)
        >>> versions = AdversarialEncrypt("base.pt", "key.json")(image, label=0)
        >>> ConcatCombine("key.json")(versions, image, label=0).shape
        torch.Size([1, 32, 32])
    """

    combiners = ("horizontal-concat",)


class MixupConcat(CombineVersions):
    """Mixup And Concat (section 4.2.2) and plain Mixup: see :class:`CombineVersions`.

    Example:
        >>> from monai_advenc import AdversarialEncrypt, MixupConcat, draw_key
        >>> image = torch.rand(1, 32, 32)
        >>> key = draw_key(list("abcde"), profile="paper-mixup-concat", steps=2)
        >>> versions = AdversarialEncrypt(network, key)(image, label=0)  # Of four targets.
        >>> MixupConcat(key)(versions, image, label=0).shape
        torch.Size([1, 32, 32])
    """

    combiners = ("mixup-and-concat", "mixup")


class CombineVersionsd(MapTransform):
    """Dictionary version of :class:`CombineVersions`, after :class:`~monai_advenc.transforms.AdversarialEncryptd`.

    Args:
        keys: Keys of the versions.
        encryption_key: The key, or the path of its file.
        label_key: Key of the class, by number or name; not changed.
        levels: See :class:`CombineVersions`.
        batched: See :class:`CombineVersions`.
        keep_original: Whether to keep the original under ``<key>_original``.
        allow_missing_keys: Whether to skip keys that a sample lacks.
        unit_key: Key of the size of one stored unit, instead of ``levels``; see :meth:`CombineVersions.__call__`.

    Example:
        >>> from monai.transforms import Compose
        >>> from monai_advenc import AdversarialEncryptd, CombineVersionsd
        >>> perturb = AdversarialEncryptd("image", network="base.pt", encryption_key="key.json")
        >>> encrypt = Compose([perturb, CombineVersionsd("image", "key.json", levels=65535)])
        >>> encrypt({"image": torch.rand(1, 32, 32), "label": 0})["image"].shape
        torch.Size([1, 32, 32])
    """

    backend = CombineVersions.backend
    array_class: ClassVar[type[CombineVersions]] = CombineVersions

    def __init__(
        self,
        keys: KeysCollection,
        encryption_key: EncryptionKey | str | Path,
        label_key: Hashable = "label",
        levels: int | None = None,
        batched: bool = False,
        keep_original: bool = False,
        allow_missing_keys: bool = False,
        unit_key: Hashable | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_key = label_key
        self.unit_key = unit_key
        self.keep_original = keep_original
        self.combine = self.array_class(encryption_key, levels, batched)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each key's versions by the encrypted image.

        Args:
            data: What :class:`AdversarialEncryptd` returns: versions ``(T, C, H, W)`` at the keys, their originals and
                class; collated ``(N, T, C, H, W)`` if ``batched``.

        Returns:
            A copy, with the encrypted image ``(C, H, W)`` or ``(N, C, H, W)`` at each key.

        Raises:
            SettingsError: There is no original of a key.

        All other errors are those of :meth:`CombineVersions.__call__`.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            unit = None if self.unit_key is None else result[self.unit_key]
            original_key = f"{key}_{ORIGINAL_POSTFIX}"
            if original_key not in result:
                raise SettingsError(f"{key!r} has no {original_key!r}; put AdversarialEncryptd before the combiner")
            scale = result.pop(f"{key}_{SCALE_POSTFIX}", None)
            result[key] = self.combine(result[key], result[original_key], result[self.label_key], unit, scale)
            if not self.keep_original:
                del result[original_key]
        return result


class ConcatCombined(CombineVersionsd):
    """Dictionary version of :class:`ConcatCombine`; arguments as :class:`CombineVersionsd`.

    Example:
        >>> from monai.transforms import Compose
        >>> from monai_advenc import AdversarialEncryptd, ConcatCombined
        >>> perturb = AdversarialEncryptd("image", network="base.pt", encryption_key="key.json")
        >>> encrypt = Compose([perturb, ConcatCombined("image", "key.json")])
        >>> encrypt({"image": torch.rand(1, 32, 32), "label": 0})["image"].shape
        torch.Size([1, 32, 32])
    """

    array_class = ConcatCombine


class MixupConcatd(CombineVersionsd):
    """Dictionary version of :class:`MixupConcat`; arguments as :class:`CombineVersionsd`.

    Example:
        >>> from monai.transforms import Compose
        >>> from monai_advenc import AdversarialEncryptd, MixupConcatd, draw_key
        >>> key = draw_key(list("abcde"), profile="paper-mixup-concat", steps=2)
        >>> perturb = AdversarialEncryptd("image", network=network, encryption_key=key)
        >>> encrypt = Compose([perturb, MixupConcatd("image", key)])
        >>> encrypt({"image": torch.rand(1, 32, 32), "label": 0})["image"].shape
        torch.Size([1, 32, 32])
    """

    array_class = MixupConcat


CombineVersionsD = CombineVersionsDict = CombineVersionsd
ConcatCombineD = ConcatCombineDict = ConcatCombined
MixupConcatD = MixupConcatDict = MixupConcatd
