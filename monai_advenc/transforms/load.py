# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""MONAI transforms that read an image file in the same way as all commands of this package."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_tensor
from numpy.typing import NDArray
from torch import Tensor

from monai_advenc.data.images.reading import read_image, resize_image, to_gray
from monai_advenc.errors import ImageError
from monai_advenc.perturbation.pgd import require_pixels
from monai_advenc.settings import require_between


class LoadSlice(Transform):
    """Read a two-dimensional image as ``(C, H, W)``, float32 in [0, 1].

    Integers in a file are divided by the largest value of their type.

    Args:
        size: Side in pixels to resize to; ``None`` keeps the image's size.
        gray: Whether to convert colors to gray.

    Raises:
        SettingsError: ``size`` is below 1.

    Example:
        >>> from monai_advenc import LoadSlice
        >>> LoadSlice(size=64)("slice.png").shape
        torch.Size([1, 64, 64])
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, size: int | None = None, gray: bool = False) -> None:
        if size is not None:
            require_between("size", size, 1)
        self.size = size
        self.gray = gray

    def __call__(self, path: str | Path | Tensor | NDArray[np.generic]) -> Tensor:
        """Read.

        Args:
            path: PNG, JPEG, TIFF, two-dimensional NIfTI or npy; or an image in memory, ``(C, H, W)`` in [0, 1].

        Returns:
            ``(C, H, W)``, float32 in [0, 1]; C is 1 (gray) or 3 (RGB).

        Raises:
            ImageError: The file cannot be read or holds no such image, or an image in memory has other axes or is not
                in [0, 1].
        """
        image = _in_memory(path) if isinstance(path, Tensor | np.ndarray) else read_image(Path(path))
        image = to_gray(image) if self.gray else image
        return image if self.size is None else resize_image(image, self.size)


def _in_memory(image: Tensor | NDArray[np.generic]) -> Tensor:
    found: Tensor = convert_to_tensor(image, track_meta=isinstance(image, MetaTensor))
    if not found.is_floating_point():
        raise ImageError(
            f"expected an image in memory as floating-point numbers in [0, 1], got {found.dtype}; scale it"
        )
    if found.ndim != 3:
        raise ImageError(f"expected an image in memory as (C, H, W), got {tuple(found.shape)}; add the channel axis")
    require_pixels(found)
    return found.float()


class LoadSliced(MapTransform):
    """Dictionary version of :class:`LoadSlice`.

    Args:
        keys: Keys of the paths, which the images replace.
        size: As for :class:`LoadSlice`.
        gray: As for :class:`LoadSlice`.
        allow_missing_keys: Whether to skip keys that an item lacks.

    Example:
        >>> from monai_advenc import LoadSliced
        >>> LoadSliced("image", size=64)({"image": "slice.png", "label": 0})["image"].shape
        torch.Size([1, 64, 64])
    """

    backend = LoadSlice.backend

    def __init__(
        self, keys: KeysCollection, size: int | None = None, gray: bool = False, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load = LoadSlice(size, gray)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the file at each key.

        Args:
            data: A sample: paths or images ``(C, H, W)`` in memory at the keys.

        Returns:
            A copy, with ``(C, H, W)``, float32 in [0, 1], at each key.

        Errors are those of :meth:`LoadSlice.__call__`.
        """
        read = dict(data)
        for key in self.key_iterator(read):
            read[key] = self.load(read[key])
        return read


LoadSliceD = LoadSliceDict = LoadSliced
