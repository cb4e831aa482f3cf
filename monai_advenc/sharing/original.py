# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""An image on its way: read, then encrypted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_advenc.data.dicom.slice import DicomSlice
from monai_advenc.data.images.folder import ImageFile
from monai_advenc.data.images.reading import read_region, resize_image
from monai_advenc.data.volume import Affine
from monai_advenc.errors import ImageError


@dataclass(frozen=True)
class Original:
    """An image to encrypt, with all that is needed of its file, which is read once.

    Attributes:
        file: Its file.
        image: ``(C, H, W)``, float32 in [0, 1].
        region: The pixels that may change, ``(1, H, W)``, bool; ``None``: all.
        affine: Its position in space; ``None`` if unknown, or if the image was resized.
        dicom: The DICOM file, if DICOM is to be derived from it.
        scale: The share of the key's radius that the image gets; ``None``: all of it.
    """

    file: ImageFile
    image: Tensor
    region: Tensor | None
    affine: Affine | None
    dicom: DicomSlice | None = None
    scale: float | None = None

    @property
    def id(self) -> str:
        """The image's id."""
        return self.file.id


@dataclass(frozen=True)
class Encrypted:
    """An image with its encrypted pixels ``(C, H, W)`` and the base network's precision; not written yet."""

    original: Original
    encrypted: Tensor
    precision: str | None

    @property
    def id(self) -> str:
        """The image's id."""
        return self.original.id


def units_of(group: Sequence[Original]) -> Tensor | None:
    """``(N,)``, float64: one stored unit of each image on the [0, 1] scale; ``None`` if no DICOM is written."""
    units = [each.dicom.stored.unit or 0.0 for each in group if each.dicom is not None]
    return torch.tensor(units, dtype=torch.float64) if units else None


def tumor_of(file: ImageFile, size: int | None, shape: tuple[int, int]) -> Tensor | None:
    """The mask next to an image on its grid of ``shape``, ``(1, H, W)``, for a figure: ``None`` if there is none."""
    if file.mask_path is None:
        return None
    try:
        mask = read_region(file.mask_path, file.path)
    except ImageError:
        return None  # Only with --region mask does it decide anything; that refuses it.
    mask = mask if size is None else resize_image(mask.float(), size) > 0
    return mask if tuple(mask.shape[-2:]) == shape else None
