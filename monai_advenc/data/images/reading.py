# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""One image file: PNG, JPEG, TIFF, two-dimensional NIfTI, npy or DICOM, as ``(C, H, W)``, float32 in [0, 1].

Integer files are divided by the largest value of their type, and 0 is black. DICOM images have their own window, from
the 0.5th to the 99.5th percentile; see :mod:`monai_advenc.data.stored_slice`.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import png
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torch.nn import functional

from monai_advenc.data.codestream import has_end, jpeg_header, lacks_pixels
from monai_advenc.data.dicom.slice import read_dicom_affine, read_dicom_slice
from monai_advenc.data.images.medmnist import is_in_archive, read_in_archive
from monai_advenc.data.images.orientation import upright
from monai_advenc.data.images.tiff import read_tiff
from monai_advenc.data.images.writing import DICOM_SUFFIX
from monai_advenc.data.nifti_slice import NiftiSlice, read_nifti_slice
from monai_advenc.data.volume import Affine
from monai_advenc.errors import ImageError, VolumeError

MASK_SUFFIX = ".mask.png"
"""``<id>.mask.png`` next to an image is its region mask."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".nii.gz", ".nii", ".npy", DICOM_SUFFIX)

_PNG = b"\x89PNG\r\n\x1a\n"

_LUMA = (0.299, 0.587, 0.114)


def image_id(path: Path) -> str | None:
    """The id of an image file, its name without the suffix; ``None`` when it is no image (or a mask)."""
    lower = path.name.lower()
    if lower.startswith(".") or lower.endswith(MASK_SUFFIX):
        return None
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if lower.endswith(suffix)), None)
    return None if suffix is None else path.name[: -len(suffix)]


def read_image(path: Path) -> Tensor:
    """Read one image file.

    Args:
        path: PNG (8 or 16 bit, gray or RGB), JPEG, TIFF, a two-dimensional NIfTI, npy, or gray DICOM. NIfTI is turned
            upright as :mod:`monai_advenc.data.nifti_slice` says.

    Returns:
        ``(C, H, W)``, float32 in [0, 1]; C is 1 or 3.

    Raises:
        ImageError: The file cannot be read, or holds no such image.
    """
    try:
        values = _READERS[next(suffix for suffix in IMAGE_SUFFIXES if path.name.lower().endswith(suffix))](path)
    except StopIteration:
        raise ImageError(
            f"{path} has an unknown suffix; expected one of {', '.join(IMAGE_SUFFIXES)}: convert it"
        ) from None
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; check the folder") from None
    except Exception as error:  # Parsers raise whatever the damaged byte led them to.
        if isinstance(error, OSError) and error.errno is not None:
            raise ImageError(f"cannot read {path} ({error.strerror}); check its permissions and the disk") from None
        # What they say is about their insides; --debug shows it.
        raise ImageError(f"cannot read {path}: damaged or no image; get the file again, or remove it") from error
    return _to_unit(values, path)


def read_affine(path: Path) -> Affine | None:
    """The 4x4 affine of an image stored as NIfTI or DICOM, from ``(h, w, 0)`` to RAS+ mm; ``None`` for other files.

    It belongs to the image as :func:`read_image` returns it: upright.
    """
    if is_dicom_image(path):
        return read_dicom_affine(path)
    return _nifti_slice(path).affine if is_nifti_image(path) else None


def _read_png(path: Path) -> NDArray[np.generic]:
    _require_intact_chunks(path)
    with Image.open(path) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        if image.mode in ("L", "RGB", "I;16"):
            deep_color = image.mode == "RGB" and _png_bit_depth(path) == 16
            if not deep_color:
                return upright(np.asarray(image), orientation)
    # Pillow would silently keep only the upper byte of 16-bit colors.
    with path.open("rb") as file:
        width, height, rows, info = png.Reader(file=file).asDirect()
        if info["planes"] not in (1, 3):
            raise ImageError(f"{path} has an alpha channel; save it as plain gray or RGB")
        dtype = np.uint16 if info["bitdepth"] > 8 else np.uint8
        pixels = np.vstack([np.asarray(row, dtype=dtype) for row in rows]).reshape(height, width, info["planes"])
    if info["bitdepth"] not in (8, 16):
        pixels = (pixels.astype(np.float32) / (2 ** info["bitdepth"] - 1)).astype(np.float32)
    return upright(pixels, orientation)


def _require_intact_chunks(path: Path) -> None:
    """Raise unless the checksums of the pixels are right and the file has its end; Pillow checks the other chunks."""
    content, at, kind = path.read_bytes(), len(_PNG), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 8 + length
        if kind == b"IDAT" and zlib.crc32(content[at + 4 : end]) != struct.unpack_from(">I", content, end)[0]:
            raise ImageError(f"{path} is damaged (wrong checksum of a part of its pixels); get the file again")
        at = end + 4


def _png_bit_depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(25)[24]


def _read_jpeg(path: Path) -> NDArray[np.generic]:
    content = path.read_bytes()
    header = jpeg_header(content)
    if header is not None and header.bits != 8:
        raise ImageError(f"{path} is a JPEG of {header.bits} bits a sample; save it as 16-bit PNG")
    with Image.open(io.BytesIO(content), formats=("JPEG", "MPO")) as image:
        images = getattr(image, "n_frames", 1)
        if images != 1:
            raise ImageError(f"{path} holds {images} images; expected one: save them separately")
        if image.mode not in ("L", "RGB"):
            raise ImageError(f"{path} has color mode {image.mode}; save it as plain gray or RGB")
        if not has_end(content) or lacks_pixels(content, np.asarray(image), _decode_jpeg):
            raise ImageError(f"{path} is damaged: a part of its pixels is missing; get the file again")
        return np.asarray(ImageOps.exif_transpose(image))  # As in upright.


def _decode_jpeg(content: bytes) -> NDArray[np.generic]:
    with Image.open(io.BytesIO(content), formats=("JPEG", "MPO")) as image:
        return np.asarray(image)


def _read_by_content(path: Path) -> NDArray[np.generic]:
    """PNG, JPEG or TIFF by its first bytes: programs misname such files, and open them all the same."""
    with path.open("rb") as file:
        start = file.read(8)
    for signature, read in _SIGNATURES.items():
        if start.startswith(signature):
            return read(path)
    raise ImageError(
        f"cannot read {path}: damaged or no image (no PNG, JPEG or TIFF); get the file again, or remove it"
    )


def _read_nifti(path: Path) -> NDArray[np.generic]:
    values = _nifti_slice(path).upright
    if values.dtype.names:
        raise ImageError(f"{path} holds RGB voxels; expected a gray slice with values in [0, 1]")
    return values.astype(np.float32)


def _nifti_slice(path: Path) -> NiftiSlice:
    try:
        return read_nifti_slice(path)
    except VolumeError as error:
        raise ImageError(str(error)) from None


def _read_npy(path: Path) -> NDArray[np.generic]:
    if is_in_archive(path):
        return read_in_archive(path)
    values: NDArray[np.generic] = np.load(path, allow_pickle=False)
    if values.ndim == 3 and values.shape[0] in (1, 3) and values.shape[2] not in (1, 3):
        values = np.moveaxis(values, 0, 2)
    return values


def _read_dicom(path: Path) -> NDArray[np.generic]:
    pixels: NDArray[np.generic] = read_dicom_slice(path).stored.image()[0].numpy()
    return pixels


_SIGNATURES: dict[bytes, Callable[[Path], NDArray[np.generic]]] = {
    _PNG: _read_png,
    b"\xff\xd8\xff": _read_jpeg,
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), read_tiff),
}

_READERS: dict[str, Callable[[Path], NDArray[np.generic]]] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff"), _read_by_content),
    **dict.fromkeys((".nii", ".nii.gz"), _read_nifti),
    ".npy": _read_npy,
    DICOM_SUFFIX: _read_dicom,
}


def _to_unit(values: NDArray[np.generic], path: Path) -> Tensor:
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in (1, 3) or 0 in values.shape:
        raise ImageError(f"{path} has shape {values.shape}; expected one gray or RGB image")
    if np.issubdtype(values.dtype, np.unsignedinteger):
        # In float64 first: the same float32 as k / levels computed anywhere else.
        pixels = (values.astype(np.float64) / (2 ** (8 * values.dtype.itemsize) - 1)).astype(np.float32)
    elif np.issubdtype(values.dtype, np.floating):
        pixels = values.astype(np.float32)
    else:
        raise ImageError(f"{path} holds {values.dtype} values; expected unsigned integers, or floats in [0, 1]")
    if not np.isfinite(pixels).all():
        raise ImageError(f"{path} holds NaN or infinite pixels; correct or remove it")
    if pixels.min() < 0 or pixels.max() > 1:
        raise ImageError(f"{path} holds values from {pixels.min():.4g} to {pixels.max():.4g}; expected [0, 1]: rescale")
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def read_region(path: Path, image: Path) -> Tensor:
    """Read the region mask next to an image as ``(1, H, W)``, bool: every nonzero pixel belongs to the region.

    Args:
        path: The mask, on the rows and columns of the image as it is stored.
        image: The image; if it is NIfTI that is turned upright, the mask turns with it.
    """
    region = (read_image(path) > 0).any(dim=0, keepdim=True)
    if not is_nifti_image(image):
        return region
    return torch.from_numpy(np.ascontiguousarray(_nifti_slice(image).turn.of(region[0].numpy())))[None]


def resize_image(image: Tensor, size: int) -> Tensor:
    """Resize ``(C, H, W)`` to ``size`` x ``size``: bilinear, low-pass filtered when shrinking, still in [0, 1]."""
    if image.shape[-2:] == (size, size):
        return image
    resized = functional.interpolate(image[None], size=(size, size), mode="bilinear", antialias=True)[0]
    return resized.clamp(0, 1)


def to_gray(image: Tensor) -> Tensor:
    """``(C, H, W)`` to ``(1, H, W)``: the one channel of images that are gray already, else luma (ITU-R BT.601)."""
    if len(image) == 1 or (torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])):
        return image[:1]
    return (image * torch.tensor(_LUMA)[:, None, None]).sum(dim=0, keepdim=True).clamp(0, 1)


def is_dicom_image(path: Path) -> bool:
    """Whether a file of an image folder is DICOM, by its name."""
    return path.name.lower().endswith(DICOM_SUFFIX)


def is_nifti_image(path: Path) -> bool:
    """Whether a file of an image folder is NIfTI, by its name."""
    return path.name.lower().endswith((".nii", ".nii.gz"))
