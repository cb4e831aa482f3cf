# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypted images as derived DICOM objects of the DICOM images that they were made from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from monai_advenc.data.dicom.derivation import derive, encode_dicom, require_writable
from monai_advenc.data.dicom.identity.rule import IdentityRule
from monai_advenc.data.dicom.identity.traces import names_patient
from monai_advenc.data.dicom.provenance import Derivation
from monai_advenc.data.dicom.slice import read_dicom_slice
from monai_advenc.data.images.reading import is_dicom_image
from monai_advenc.data.images.writing import encode_image
from monai_advenc.data.volume import Affine
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import ImageError
from monai_advenc.perturbation.pgd import GEOMETRIES


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

    def region_of(self, path: Path, name: str, label: str) -> Tensor:
        """The pixels of a DICOM image that may change, ``(1, H, W)``: all but padding and what the window clips.

        Raises:
            ImageError: The file is no DICOM image, cannot be written back, or its name or class names the patient.
        """
        if not is_dicom_image(path):
            raise ImageError(f"{path} is no DICOM image; write it as nifti or png16: DICOM is derived from DICOM alone")
        stored, source = read_dicom_slice(path)
        require_writable(source)
        if self.identity.choice != "keep":
            for what, text in (("file name", name), ("class", label)):
                if names_patient(text, source):
                    raise ImageError(
                        f"{path} has a {what} that names the patient, or has a date, number or UID of the archive, and "
                        "would in the output; rename it"
                    )
        free = stored.free()
        if not free.any():
            raise ImageError(f"{path} has no pixel between the ends of its window; leave it out")
        return free

    def unit_of(self, path: Path) -> float:
        """One stored unit of a DICOM image on the [0, 1] scale."""
        return read_dicom_slice(path)[0].unit or 0.0

    def units_of(self, paths: list[Path]) -> Tensor:
        """``(N,)``, float64: one stored unit of each image on the [0, 1] scale."""
        return torch.tensor([self.unit_of(path) for path in paths], dtype=torch.float64)

    def encode(self, path: Path, encrypted: Tensor, formats: tuple[str, ...], affine: Affine | None) -> list[bytes]:
        """The files of one encrypted image ``(1, H, W)``, all of them with the pixels that the DICOM file holds."""
        stored, source = read_dicom_slice(path)
        settings = self.key.perturbation.at_size(*encrypted.shape[-2:])
        values = stored.changed(encrypted, settings.radius, GEOMETRIES[settings.norm].length)
        pixels = stored.on_same_window(values)
        derivation = Derivation.perturbation(self.identity, self.run_tag)
        return [
            encode_dicom(derive(source, values, derivation)) if name == "dicom" else encode_image(pixels, name, affine)
            for name in formats
        ]
