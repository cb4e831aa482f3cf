# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 (Krizhevsky 2009) in the forms that people have it in: python batches, binary batches, class folders.

Each may be a folder or the archive as downloaded (``cifar-10-python.tar.gz``, ``cifar-10-binary.tar.gz``, a tar of
``train/<class>/`` and ``test/<class>/``), which is read without being unpacked.
"""

from __future__ import annotations

import io
import lzma
import pickle
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import DatasetError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The classes in the order of the labels."""

SIDE = 32
"""Side of the images in pixels."""

_PIXELS = 3 * SIDE * SIDE
_TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images ``(N, 3, 32, 32)`` and labels ``(N,)``."""


class _Part(NamedTuple):
    """Labels ``(N,)``, and what gives the images of some rows: files of a class folder are decoded only when taken."""

    labels: NDArray[np.int64]
    take: Callable[[NDArray[np.int64]], NDArray[np.uint8]]


class Cifar10(NamedTuple):
    """The training and the test images."""

    train: ImageSet
    test: ImageSet


def read_cifar10(source: Path, *, train_size: int | None = None, test_size: int | None = None) -> Cifar10:
    """Read CIFAR-10.

    Args:
        source: A folder or tar archive that holds, at any depth, the python batches, the binary batches, or class
            folders below ``train`` and ``test``.
        train_size: Take only so many training images, the first of each class; ``None``: all.
        test_size: The same for test images.

    Returns:
        Images ``(N, 3, 32, 32)``, float32 in [0, 1], with labels in the order of :data:`CLASSES`.

    Raises:
        DatasetError: None of the three forms is there, something of it is missing or damaged, or has too few images.
    """
    try:
        parts = _read_parts(source)
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise DatasetError(f"cannot read {source} ({_in_one_line(error)}); download it again") from None
    return Cifar10(_subset(parts, "train", train_size, source), _subset(parts, "test", test_size, source))


def _read_parts(source: Path) -> dict[str, _Part]:
    batches: dict[str, Batch] = {}
    folders: dict[str, list[_File]] = {"train": [], "test": []}
    for path, read in _files(source):
        stem, split, label = path.name.removesuffix(".bin"), path.parts[-3:-2], path.parts[-2:-1]
        if stem in (*_TRAIN_BATCHES, "test_batch"):
            batches[stem] = (_binary_batch if path.suffix == ".bin" else _python_batch)(read(), path)
        elif split and split[0] in folders and label[0] in CLASSES and path.suffix.lower() in _IMAGE_SUFFIXES:
            folders[split[0]].append(_File(path, CLASSES.index(label[0]), read()))
    if batches:
        missing = [name for name in (*_TRAIN_BATCHES, "test_batch") if name not in batches]
        if missing:
            raise DatasetError(f"{source} lacks {', '.join(missing)}; download it again")
        return {
            "train": _join([batches[name] for name in _TRAIN_BATCHES]),
            "test": _join([batches["test_batch"]]),
        }
    if not (folders["train"] and folders["test"]):
        raise DatasetError(
            f"{source} is no CIFAR-10: expected data_batch_1 to 5 and test_batch (python or .bin), or images in "
            "train/<class>/ and test/<class>/"
        )
    return {name: _decode_later(found) for name, found in folders.items()}


class _File(NamedTuple):
    path: PurePosixPath
    label: int
    content: bytes


def _join(batches: Sequence[Batch]) -> _Part:
    images, labels = (np.concatenate(column) for column in zip(*batches, strict=True))
    return _Part(labels, lambda rows: images[rows])


def _decode_later(files: Iterable[_File]) -> _Part:
    # By name, not in the order of the archive or the file system.
    files = sorted(files, key=lambda file: (file.path.name, file.label))
    return _Part(
        np.asarray([file.label for file in files], np.int64),
        lambda rows: np.stack([_decode(files[row]) for row in rows]),
    )


def _files(source: Path) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
    """Each regular file below a folder or in an archive, with what reads it."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file():
                yield PurePosixPath(path.as_posix()), path.read_bytes
        return
    if not source.is_file():
        raise DatasetError(f"{source} does not exist; give the folder or archive of CIFAR-10")
    with tarfile.open(source) as archive:
        for member in archive:
            if member.isfile():
                file = archive.extractfile(member)
                assert file is not None
                yield PurePosixPath(member.name), file.read


def _binary_batch(content: bytes, path: PurePosixPath) -> Batch:
    rows = np.frombuffer(content, np.uint8)
    if not rows.size or rows.size % (1 + _PIXELS):
        raise DatasetError(f"{path} is damaged: expected rows of {1 + _PIXELS} bytes, got {rows.size} bytes in all")
    rows = rows.reshape(-1, 1 + _PIXELS)
    return _checked(rows[:, 1:], rows[:, 0].astype(np.int64), path)


def _empty_array(*_: object) -> NDArray[np.uint8]:
    """What a pickled array starts as; its shape comes with its bytes, and must fit them."""
    return np.empty(0, np.uint8)


_ARRAY_PARTS = MappingProxyType({"_reconstruct": _empty_array, "ndarray": object(), "dtype": np.dtype})
"""An array class that cannot be called: with a shape alone it would take any amount of memory."""


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dictionaries, lists and arrays; a pickle that names anything else could run code, and is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in _ARRAY_PARTS:
            return _ARRAY_PARTS[name]
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: text.encode(encoding)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _python_batch(content: bytes, path: PurePosixPath) -> Batch:
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        images, labels = np.asarray(batch[b"data"], np.uint8), np.asarray(batch[b"labels"], np.int64)
    except Exception as error:  # noqa: BLE001  # Parsers raise whatever the damaged byte led them to.
        raise DatasetError(f"{path} is no CIFAR-10 batch ({_in_one_line(error)}); download it again") from None
    return _checked(images, labels, path)


def _checked(rows: NDArray[np.uint8], labels: NDArray[np.int64], path: PurePosixPath) -> Batch:
    fits = labels.ndim == 1 and rows.shape == (len(labels), _PIXELS)
    if not fits or not len(labels) or labels.min() < 0 or labels.max() >= len(CLASSES):
        raise DatasetError(f"{path} is damaged: expected rows of {_PIXELS} pixels with labels from 0 to 9")
    return rows.reshape(-1, 3, SIDE, SIDE), labels


def _decode(file: _File) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(file.content)) as image:
            width, height = image.size
            if (width, height) != (SIDE, SIDE):
                raise DatasetError(f"{file.path} has {width}x{height} pixels; CIFAR-10 has {SIDE}x{SIDE}")
            pixels = np.asarray(image.convert("RGB"))
    except DatasetError:
        raise
    except Exception as error:  # noqa: BLE001  # As above.
        raise DatasetError(f"cannot read {file.path} ({_in_one_line(error)}); replace it") from None
    return pixels.transpose(2, 0, 1)


def _subset(parts: dict[str, _Part], name: str, size: int | None, source: Path) -> ImageSet:
    labels, take = parts[name]
    rows = np.arange(len(labels))
    if size is not None:
        share = size // len(CLASSES)
        if share * len(CLASSES) != size or np.bincount(labels, minlength=len(CLASSES)).min() < share or not share:
            raise DatasetError(
                f"expected a number of {name} images that is a multiple of {len(CLASSES)} and no more than {source} "
                f"has, got {size}"
            )
        rows = np.sort(np.concatenate([np.flatnonzero(labels == label)[:share] for label in range(len(CLASSES))]))
    pixels = torch.from_numpy(np.ascontiguousarray(take(rows))).float() / 255
    ids = tuple(f"{name}-{row:05d}" for row in rows.tolist())
    return ImageSet(pixels, torch.from_numpy(labels[rows].astype(np.int64)), ids, CLASSES)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
