# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Originals in the form in which they were encrypted: gray and resized where the encrypted image is."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from monai_advenc.data.images.reading import read_image, resize_image, to_gray
from monai_advenc.errors import ImageError, VerificationError


def match_original(original: Tensor, encrypted: Tensor, case: str) -> Tensor:
    """Convert an original to the form that was encrypted: gray if the encrypted image is, and of its size.

    Raises:
        ImageError: The two cannot be of one image.
    """
    original = _on_grid(original, encrypted.shape)
    if original.shape != encrypted.shape:
        raise ImageError(
            f"case {case}: the original has shape {tuple(original.shape)}, the encrypted image "
            f"{tuple(encrypted.shape)}; give the originals that it was made from"
        )
    return original


def _on_grid(original: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An image turned to gray and resized where ``shape``, ``(C, H, W)``, asks for it."""
    original = to_gray(original) if shape[0] == 1 else original
    is_resized = original.shape != shape and shape[1] == shape[2]
    return resize_image(original, shape[2]) if is_resized else original


def read_original(source: Path, shape: tuple[int, ...]) -> Tensor:
    """Read an original in the form that was encrypted: gray and resized where the encrypted image, ``(C, H, W)``, is.

    Raises:
        ImageError: The file cannot be read.
        VerificationError: It still has another shape.
    """
    original = _on_grid(read_image(source), shape)
    if original.shape != shape:
        raise VerificationError(f"its original has shape {tuple(original.shape)}, expected {tuple(shape)}")
    return original
