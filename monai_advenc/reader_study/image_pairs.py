# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read encrypted images with their originals, one pair at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from monai_advenc.data.images.folder import ImageFile, ImageFolder
from monai_advenc.data.images.matching import match_original
from monai_advenc.data.images.reading import read_image, read_region, resize_image
from monai_advenc.errors import DatasetError


@dataclass(frozen=True)
class Pair:
    """An image before and after encryption.

    Attributes:
        original: ``(C, H, W)`` in [0, 1], in the form that was encrypted.
        encrypted: The same shape.
        mask: Tumor, ``(1, H, W)``, or ``None``.
    """

    original: Tensor
    encrypted: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Pairs:
    """Encrypted images of a folder with the originals of the same names."""

    before: Mapping[str, ImageFile]
    after: Mapping[str, ImageFile]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, before: ImageFolder, after: ImageFolder) -> Pairs:
        """Find the pairs.

        Raises:
            DatasetError: An encrypted image has no original.
        """
        sources = {file.id: file for file in before.files}
        for file in after.files:
            if file.id not in sources:
                raise DatasetError(
                    f"encrypted image {file.id!r} has no original of that name in {before.root}; give the folder that "
                    "was encrypted"
                )
        return cls(sources, {file.id: file for file in after.files}, tuple(after.classes))

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the encrypted images, in the order of the folder."""
        return tuple(self.after)

    def label_of(self, name: str) -> str:
        """Class name of an image."""
        return self.classes[self.after[name].label]

    def read(self, name: str) -> Pair:
        """Read a pair.

        Raises:
            ImageError: A file cannot be read, or the two cannot be of one image.
        """
        image, source = read_image(self.after[name].path), self.before[name]
        original = match_original(read_image(source.path), image, name)
        mask = None if source.mask_path is None else read_region(source.mask_path, source.path)
        if mask is not None and mask.shape[-2:] != image.shape[-2:]:
            mask = resize_image(mask.float(), image.shape[-1]) > 0
        return Pair(original, image, mask)
