# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""An image on its way: read, then encrypted, or failed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from monai_advenc.data.dicom.slice import DicomSlice
from monai_advenc.data.images.folder import ImageFile
from monai_advenc.data.images.reading import read_region, resize_image
from monai_advenc.data.records import ImageRecord
from monai_advenc.data.volume import Affine
from monai_advenc.encryption.draws import Draws
from monai_advenc.encryption.energy import measure_energy
from monai_advenc.encryption.fidelity import measure_changeable, measure_fidelity
from monai_advenc.errors import ImageError
from monai_advenc.files.atomic import sha256_of


@dataclass(frozen=True)
class Failure:
    """An image that could not be encrypted, and why, in one line."""

    id: str
    message: str
    fatal: bool = False


Outcome = ImageRecord | Failure


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
        draws: Random choices for the image; ``None``: not made yet.
    """

    file: ImageFile
    image: Tensor
    region: Tensor | None
    affine: Affine | None
    dicom: DicomSlice | None = None
    scale: float | None = None
    draws: Draws | None = None

    @property
    def id(self) -> str:
        """The image's id."""
        return self.file.id

    def content(self, *, with_header: bool) -> bytes:
        """SHA-256 of pixels, region, padding, position in space, and, if asked for, of the file with its header."""
        digest = hashlib.sha256(repr(tuple(self.image.shape)).encode() + self.image.cpu().numpy().tobytes())
        digest.update(b"" if self.region is None else self.region.cpu().numpy().tobytes())
        # Of DICOM the region leaves out the padding anyhow, but earlier versions gave such images the whole radius.
        padding = self.file.padding
        digest.update(b"" if padding is None else repr(padding.as_tuple()).encode())
        digest.update(b"" if self.affine is None else self.affine.tobytes())
        digest.update(b"" if not with_header else sha256_of(self.file.path).encode())
        return digest.digest()

    def measured(self, record: ImageRecord, written: Tensor, radius: float, size: int | None) -> ImageRecord:
        """The record with the distances of the image as written, ``(C, H, W)``; ``size``: its side if resized."""
        fidelity: dict[str, Any] = measure_fidelity(written[None], self.image[None])[0].as_dict()
        return replace(
            record,
            radius=radius,
            **fidelity,
            changeable=None if self.region is None else measure_changeable(written, self.image, self.region),
            energy=measure_energy(written, self.image, tumor_of(self.file, size, record.shape[1:])),
        )


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


def common_pixels(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """The pixels of both masks; ``None`` stands for all pixels."""
    if first is None or second is None:
        return second if first is None else first
    return first & second
