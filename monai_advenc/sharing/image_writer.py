# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write encrypted images, and measure them as written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from monai_advenc.data.images.folder import ImageFile
from monai_advenc.data.images.reading import read_affine, read_image
from monai_advenc.data.images.writing import SLICE_FORMATS, encode_image
from monai_advenc.data.records import FileRecord, ImageRecord
from monai_advenc.data.volume import Affine
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError, OutputError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.sharing import shared_masks
from monai_advenc.sharing.dicom_output import DicomOutput
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.original import Encrypted, Failure, Original, Outcome


@dataclass(frozen=True)
class ImageWriter:
    """Writes the images of one run. It has no network and no list of images, so it can be sent to another process.

    Attributes:
        classes: Names of the classes.
        out: Folder to write into.
        key: The encryption key.
        options: Formats and size.
        dicom: Writes DICOM; ``None`` if no DICOM is written.
    """

    classes: tuple[str, ...]
    out: Path
    key: EncryptionKey
    options: EncryptionOptions
    dicom: DicomOutput | None

    def write_block(self, block: Sequence[Encrypted | Failure]) -> list[Outcome]:
        """Write the encrypted images of one block."""
        return [each if isinstance(each, Failure) else self._write_or_fail(each) for each in block]

    def _write_or_fail(self, done: Encrypted) -> Outcome:
        try:
            return self.write(done)
        except AdvencError as error:
            return Failure(done.id, str(error), fatal=isinstance(error, OutputError))

    def write(self, done: Encrypted) -> ImageRecord:
        """Write the files of one encrypted image and measure them against its original."""
        file, written = done.original.file, []
        label, source_tag = self.classes[file.label], self.tag_of(done.original)
        channels, height, width = done.encrypted.shape
        masks = self.masks_of(done.original, (height, width))
        for name, content in zip(self.options.formats, self.encode(done.original, done.encrypted), strict=True):
            path = f"{label}/{file.id}{SLICE_FORMATS[name]}"
            # A killed run may have written this file without recording it.
            write_atomically(self.out / path, content, overwrite=True)
            written.append(FileRecord(path=path, format=name, sha256=hashlib.sha256(content).hexdigest()))
        record = ImageRecord(
            id=file.id,
            label=label,
            files=tuple(written),
            shape=(channels, height, width),
            source_tag=source_tag,
            precision=done.precision,
            masks=shared_masks.write_masks(self.out, masks),
        )
        return self.measured(done.original, record)

    def encode(self, original: Original, encrypted: Tensor) -> list[bytes]:
        """The files of an image with these pixels ``(C, H, W)``, in the order of the formats."""
        if self.dicom is not None and original.dicom is not None:
            return self.dicom.encode(original.dicom, encrypted, self.options.formats, self._radius(original))
        return [encode_image(encrypted, name, affine=original.affine) for name in self.options.formats]

    def measured(self, original: Original, record: ImageRecord) -> ImageRecord:
        """The record with the distances of the file as written, not of the tensor."""
        written = read_image(self.out / record.files[0].path)
        return original.measured(record, written, self._radius(original), self.options.size)

    def renewed(self, original: Original, record: ImageRecord) -> ImageRecord | None:
        """The record of a written image with all distances; ``None`` if its original has changed."""
        if (record.label, record.source_tag) != (self.classes[original.file.label], self.tag_of(original)):
            return None
        if not shared_masks.are_recorded(self.masks_of(original, record.shape[1:]), record.masks):
            return None
        return record.with_measured(self.measured(original, record))

    def tag_of(self, original: Original) -> str:
        """Keyed checksum of an original: pixels, region, padding, position in space, DICOM header."""
        content = original.content(with_header=self.dicom is not None)
        return self.key.tag("source", content)[:16]

    def affine_of(self, file: ImageFile) -> Affine | None:
        """Position of an image in space; ``None`` if unknown, or if the image is resized."""
        return read_affine(file.path) if self.options.size is None else None

    def has_masks(self, file: ImageFile) -> bool:
        """Whether the mask of an image is written with it."""
        return self.options.writes_masks and file.mask_path is not None

    def masks_of(self, original: Original, shape: tuple[int, int]) -> list[shared_masks.EncodedMask]:
        """The mask of an image of ``shape``, if it is written with the image."""
        file, options = original.file, self.options
        if not self.has_masks(file):
            return []
        place = f"{self.classes[file.label]}/{file.id}"
        return shared_masks.encode_image_masks(file, place, options.formats, options.size, shape, original.affine)

    def _radius(self, original: Original) -> float:
        """Radius of the ball around an image."""
        whole = self.key.perturbation.at_size(*original.image.shape[-2:]).radius
        return whole * (1.0 if original.scale is None else original.scale)
