# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""MedMNIST and MedMNIST+ (Yang et al. 2023): labeled images in one ``.npz`` file, read without being unpacked.

A path names a part of the file: ``bloodmnist.npz`` its training images, ``bloodmnist.npz/val`` and
``bloodmnist.npz/test`` the others. An image has the path ``bloodmnist.npz/train/train-00012.npy``, as in a folder.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_advenc.errors import DatasetError, ImageError

PARTS: Final = ("train", "val", "test")

_ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left"),
    *("lung-right", "pancreas", "spleen"),
)

CLASSES: Final = {
    "bloodmnist": (
        *("basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte", "neutrophil"),
        "platelet",
    ),
    "breastmnist": ("malignant", "normal or benign"),
    "dermamnist": (
        *("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions"),
        *("dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions"),
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
    "pathmnist": (
        *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa"),
        *("cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
    ),
    "pneumoniamnist": ("normal", "pneumonia"),
    "tissuemnist": (
        *("collecting duct or connecting tubule", "distal convoluted tubule", "glomerular endothelial cells"),
        *("interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments"),
        "thick ascending limb",
    ),
}
"""Names of the classes by the name of the file, in the order of its labels. Other files have ``0``, ``1`` and so on."""

_MOST_CLASSES: Final = 1000
_ORDINAL = "retinamnist"
_ENDING = ".npz"
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, NotImplementedError),
    *(RuntimeError, MemoryError),  # An encrypted archive; a header that promises more than there is.
)


class Part(NamedTuple):
    """One part of a file: ``train``, ``val`` or ``test``."""

    archive: Path
    name: str


def part_at(path: Path) -> Part | None:
    """The part that a path names; ``None`` if it names no ``.npz`` file."""
    for archive, name in ((path, PARTS[0]), (path.parent, path.name)):
        if archive.name.lower().endswith(_ENDING) and archive.is_file():
            return Part(archive, name)
    return None


def images_in_part(part: Part) -> list[tuple[str, str, Path]]:
    """Class, name and path of each image of a part.

    Raises:
        DatasetError: The file is no MedMNIST file, is damaged, lacks the part, or holds volumes, several labels for an
            image, or grades instead of classes.
    """
    archive, name = part
    if archive.name.lower().startswith(_ORDINAL):
        raise DatasetError(
            f"{archive} holds grades (ordinal regression); expected classes without an order: give "
            "another MedMNIST file"
        )
    if name not in PARTS:
        raise DatasetError(f"{archive} has no part {name!r}; give {', '.join(f'{archive}/{each}' for each in PARTS)}")
    try:
        with zipfile.ZipFile(archive) as file:
            shape, dtype = _header(file, f"{name}_images.npy")
            _header(file, f"{name}_labels.npy")
        with np.load(archive, allow_pickle=False) as arrays:
            labels = np.asarray(arrays[f"{name}_labels"])
    except _DAMAGED as error:
        raise DatasetError(
            f"cannot read the part {name!r} of {archive} ({' '.join(str(error).split())[:200]}); expected arrays "
            f"{name}_images and {name}_labels as in MedMNIST: download it again"
        ) from None
    numbers = _classes_of(archive, labels, shape, dtype)
    known = CLASSES.get(_flag(archive), ())
    if numbers and max(numbers) >= len(known):
        known = tuple(str(number) for number in range(max(numbers) + 1))
    images = archive / name
    ids = [f"{name}-{row:05d}" for row in range(len(numbers))]
    return [(known[number], id_, images / f"{id_}.npy") for number, id_ in zip(numbers, ids, strict=True)]


def is_in_archive(path: Path) -> bool:
    """Whether a path is that of an image in a part of a file."""
    return part_at(path.parent) is not None


def read_in_archive(path: Path) -> NDArray[np.generic]:
    """The pixels of an image in a part, ``(H, W)`` or ``(H, W, 3)``, uint8.

    Raises:
        ImageError: The file is damaged, or has changed since its images were listed.
    """
    part = part_at(path.parent)
    try:
        assert part is not None
        status = part.archive.stat()
        row = int(path.stem.rpartition("-")[2])
        image: NDArray[np.generic] = _images(*part, status.st_mtime_ns, status.st_size)[row]
    except (*_DAMAGED, IndexError) as error:
        problem = " ".join(str(error).split())[:200]
        raise ImageError(f"cannot read {path}: damaged ({problem}); download {path.parents[1]} again") from None
    return image


@lru_cache(maxsize=2)
def _images(archive: Path, name: str, _changed: int, _size: int) -> NDArray[np.uint8]:
    """All images of a part: a compressed array can be read as a whole only."""
    with np.load(archive, allow_pickle=False) as arrays:
        images: NDArray[np.uint8] = arrays[f"{name}_images"]
    images.flags.writeable = False
    return images


def _flag(archive: Path) -> str:
    """The name of the data set: ``bloodmnist`` of ``bloodmnist_64.npz``."""
    return archive.name.lower().removesuffix(_ENDING).partition("_")[0]


def _header(file: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array, without its values, for which the file must have the room that they take."""
    with file.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        room = file.getinfo(member).file_size - stream.tell()
    if not dtype.hasobject and room != dtype.itemsize * math.prod(shape):
        raise ValueError(f"{member} has {room} bytes for values of shape {shape}")
    return shape, dtype


def _classes_of(archive: Path, labels: NDArray[np.generic], shape: tuple[int, ...], dtype: np.dtype[Any]) -> list[int]:
    """The class of each image, or an error that says what the file holds instead."""
    if len(shape) == 5 or (len(shape) == 4 and shape[3] != 3):
        raise DatasetError(
            f"{archive} holds volumes of shape {shape[1:]}; expected images: give one of the two-dimensional MedMNIST "
            "files"
        )
    if len(shape) not in (3, 4) or dtype != np.uint8 or not shape[0]:
        raise DatasetError(
            f"{archive} holds images of shape {shape} and type {dtype}; expected (N, H, W) or (N, H, W, 3), uint8, as "
            "in MedMNIST"
        )
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DatasetError(
            f"{archive} has {labels.shape[1]} labels for each image (multi-label); expected one class: give another "
            "MedMNIST file"
        )
    if labels.size != shape[0] or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise DatasetError(
            f"{archive} has {labels.size} labels of type {labels.dtype} for {shape[0]} images; expected one whole "
            "number, 0 or more, for each: download it again"
        )
    if labels.max() >= _MOST_CLASSES:
        raise DatasetError(
            f"{archive} has the label {labels.max()}; expected fewer than {_MOST_CLASSES} classes from 0 on: give "
            "labels of classes"
        )
    return [int(number) for number in labels.reshape(-1).tolist()]
