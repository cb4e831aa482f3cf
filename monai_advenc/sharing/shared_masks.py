# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write the masks of encrypted images and volumes next to them, unless they stay with the owner."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from monai_advenc.data.images.folder import ImageFile
from monai_advenc.data.images.reading import MASK_SUFFIX, read_region, resize_image
from monai_advenc.data.images.writing import encode_mask
from monai_advenc.data.records import FileRecord
from monai_advenc.data.volume import Affine
from monai_advenc.errors import DatasetError, ImageError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.files.names import folded
from monai_advenc.progress import Progress

NIFTI_MASK_SUFFIX = ".mask.nii.gz"

MASK_SUFFIXES = (MASK_SUFFIX, NIFTI_MASK_SUFFIX)

LEAVE_OUT = "correct it, or leave masks out with --no-masks"

EncodedMask = tuple[str, str, bytes]
"""Path below the output, format, and content of a file."""


def encode_image_masks(
    file: ImageFile, place: str, formats: Sequence[str], size: int | None, shape: tuple[int, int], affine: Affine | None
) -> list[EncodedMask]:
    """The mask of an image on the rows and columns of the image as it is written: PNG, and NIfTI with NIfTI images.

    Args:
        file: The image; it has a mask.
        place: Path of its files below the output, without suffix.
        formats: The formats that the image is written in.
        size: Side to which the image was resized; ``None``: not at all. A pixel that the mask has a part in is inside.
        shape: Rows and columns of the written image.
        affine: As of the written image.

    Raises:
        ImageError: The mask cannot be read, or has another size than its image.
    """
    if file.mask_path is None:
        return []
    try:
        mask = read_region(file.mask_path, file.path)
    except ImageError as error:
        raise ImageError(f"{error}; or leave masks out with --no-masks") from None
    mask = mask if size is None else resize_image(mask.float(), size) > 0
    if tuple(mask.shape[-2:]) != shape:
        sides = " and its image ".join("x".join(map(str, each)) for each in (tuple(mask.shape[-2:]), shape))
        raise ImageError(f"the mask {file.mask_path} has {sides} rows and columns; {LEAVE_OUT}")
    pixels = mask[0].numpy()
    encoded = [(place + MASK_SUFFIX, "png8", encode_mask(pixels))]
    if "nifti" in formats:
        encoded.append((place + NIFTI_MASK_SUFFIX, "nifti", _nifti(pixels, affine)))
    return encoded


def _nifti(mask: NDArray[np.bool_], affine: Affine | None) -> bytes:
    image = nibabel.Nifti1Image(mask.astype(np.uint8)[:, :, None], np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def require_room_for_masks(with_masks: Iterable[ImageFile], files: Iterable[ImageFile]) -> None:
    """Raise :class:`DatasetError` if the mask of an image would have the file name of another image."""
    there = {folded(file.id): file for file in files}
    for file in with_masks:
        other = there.get(folded(f"{file.id}.mask"))
        if other is not None:
            raise DatasetError(
                f"the mask of {file.id!r} would have the name of the image {other.path}; rename that image, or leave "
                "masks out with --no-masks"
            )


def write_masks(out: Path, encoded: Iterable[EncodedMask]) -> tuple[FileRecord, ...]:
    """Write masks and return their records."""
    records = []
    for path, file_format, content in encoded:
        # A killed run may have written this file without recording it.
        write_atomically(out / path, content, overwrite=True)
        records.append(FileRecord(path=path, format=file_format, sha256=hashlib.sha256(content).hexdigest()))
    return tuple(records)


def are_recorded(encoded: Iterable[EncodedMask], records: Iterable[FileRecord]) -> bool:
    """Whether records are those of masks as they are now."""
    now = [(path, hashlib.sha256(content).hexdigest()) for path, _, content in encoded]
    return now == [(record.path, record.sha256) for record in records]


def say_of_masks(region: str, writes: bool, count: int, out: Path, progress: Progress) -> None:
    """Say whether the masks of ``count`` images or volumes went into the output."""
    if count and writes:
        progress.say(f"The masks of {count} of them are in {out} too; --no-masks leaves them out.")
    elif count and region == "mask":
        progress.say(
            "Masks stay with you, because with --region mask they say which pixels were perturbed; --masks writes them."
        )
