# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write encrypted images as DICOM objects derived from the original DICOM images."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from monai_advenc.data.dicom.derivation import derive, encode_dicom, require_writable
from monai_advenc.data.dicom.identity.rule import IdentityRule
from monai_advenc.data.dicom.provenance import Derivation
from monai_advenc.data.dicom.slice import DicomSlice
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import ImageError
from monai_advenc.perturbation.geometry import GEOMETRIES


class DicomOutput:
    """Writes the images of one run as DICOM.

    Args:
        key: The encryption key.
        identity: What happens to the identity in the headers.
        run_tag: Keyed checksum of base network and options.
    """

    def __init__(self, key: EncryptionKey, identity: IdentityRule, run_tag: str) -> None:
        self.key = key
        self.identity = identity
        self.run_tag = run_tag

    def region_of(self, path: Path, dicom: DicomSlice | None) -> Tensor:
        """The pixels of a DICOM image that may change, ``(1, H, W)``: all but padding and what the window clips.

        Raises:
            ImageError: The file is no DICOM image, or cannot be written back.
        """
        if dicom is None:
            raise ImageError(f"{path} is not a DICOM image, so no DICOM can be derived from it; write nifti or png16")
        require_writable(dicom.dataset)
        free = dicom.stored.free()
        if not free.any():
            raise ImageError(f"{path} has no pixel between the ends of its window; leave it out")
        return free

    def encode(self, dicom: DicomSlice, encrypted: Tensor, formats: tuple[str, ...], radius: float) -> list[bytes]:
        """Encode one encrypted image ``(1, H, W)`` in each format, with the pixels of the DICOM file."""
        values = dicom.stored.changed(encrypted, radius, GEOMETRIES[self.key.perturbation.norm].length)
        pixels = dicom.stored.on_same_window(values)
        derivation = Derivation.perturbation(self.identity, self.run_tag)
        return [
            encode_dicom(derive(dicom.dataset, values, derivation))
            if name == "dicom"
            else encode_image(pixels, name, dicom.affine)
            for name in formats
        ]
