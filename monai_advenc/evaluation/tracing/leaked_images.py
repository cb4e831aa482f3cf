# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read leaked images and turn them into evidence about the marks in them, whatever their names and sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from torch import Tensor

from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.images.reading import image_id, read_image, resize_image, to_gray
from monai_advenc.encryption.mark import content_of
from monai_advenc.errors import AdvencError, DatasetError
from monai_advenc.evaluation.tracing.files import Evidence, waves_of
from monai_advenc.evaluation.tracing.matching import Thumbnails, find_original
from monai_advenc.evaluation.tracing.registration import Image
from monai_advenc.evaluation.tracing.residual import residual_of
from monai_advenc.progress import SILENT, Advance, Progress

MOST_IMAGES: Final = 50
"""Leaked images that are looked at, evenly spread over the names; more would only take longer."""


@dataclass(frozen=True, kw_only=True)
class LeakedFile:
    """A leaked image that was looked at.

    Attributes:
        path: The file.
        original: Row of its original; ``None``: it is of none, or cannot be read.
        evidence: What it says about marks, if it has an original.
        problem: Why it cannot be read; ``None`` if it can.
    """

    path: Path
    original: int | None = None
    evidence: Evidence | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Leak:
    """Leaked images, compared with their originals.

    Attributes:
        evidence: What they say about marks, one entry for each original.
        found: Image files that leaked.
        files: Those that were looked at.
        originals_unread: Ids of originals that cannot be read, each with the reason.
    """

    evidence: tuple[Evidence, ...]
    found: int
    files: tuple[LeakedFile, ...]
    originals_unread: tuple[tuple[str, str], ...] = ()

    @property
    def used(self) -> int:
        """How many are of an original."""
        return sum(each.original is not None for each in self.files)

    @property
    def unmatched(self) -> tuple[str, ...]:
        """Names of those of no original."""
        return tuple(each.path.name for each in self.files if each.original is None and each.problem is None)

    @property
    def unread(self) -> tuple[tuple[str, str], ...]:
        """Names of those that cannot be read, each with the reason."""
        return tuple((each.path.name, each.problem) for each in self.files if each.problem is not None)


@dataclass(frozen=True)
class Originals:
    """The owner's images in the form that was encrypted.

    Attributes:
        folder: Where they are.
        size: Side to which they were resized; ``None``: they were not.
        gray: Whether colors were turned to gray.
    """

    folder: ImageFolder
    size: int | None = None
    gray: bool = False

    def image(self, row: int) -> Tensor:
        """Read one, ``(C, H, W)``."""
        image = read_image(self.folder.files[row].path)
        image = to_gray(image) if self.gray else image
        return image if self.size is None else resize_image(image, self.size)


def leaked_files(leaked: Path) -> list[Path]:
    """List the image files of a leak: one file, or all below a folder.

    Raises:
        DatasetError: There are none.
    """
    paths = [leaked] if leaked.is_file() else sorted(path for path in leaked.rglob("*") if path.is_file())
    found = [path for path in paths if image_id(path) is not None]
    if not found:
        raise DatasetError(f"expected leaked images in {leaked}, got none; give a folder of images or one image")
    return found


def examine(paths: Sequence[Path], originals: Originals, progress: Progress = SILENT) -> Leak:
    """Find the original of each leaked image, and what the image has more.

    Args:
        paths: The files.
        originals: All images that were shared.
        progress: Receives the stages.

    Raises:
        DatasetError: No original can be read.
    """
    chosen = [paths[round(row)] for row in np.linspace(0, len(paths) - 1, min(len(paths), MOST_IMAGES)).tolist()]
    read = lru_cache(maxsize=64)(originals.image)
    rows: list[int] = []
    originals_unread: list[tuple[str, str]] = []
    with progress.stage("Reading originals", len(originals.folder.files)) as advance:
        thumbnails = Thumbnails(_pictures(originals, rows, originals_unread, advance))
    if not rows:
        name, reason = originals_unread[0]
        raise DatasetError(
            f"none of {len(originals_unread)} originals can be read, such as {name} ({reason}); give --originals"
        )
    files: list[LeakedFile] = []
    with progress.stage("Comparing leaked images", len(chosen)) as advance:
        for path in chosen:
            files.append(_compare(path, thumbnails, rows, read))
            advance(1)
    waves: dict[int, tuple[bytes, Image]] = {}
    for each in files:
        if each.original is not None and each.evidence is not None:
            _, before = waves.get(each.original, (b"", 0))
            waves[each.original] = each.evidence.content, before + each.evidence.waves
    evidence = tuple(Evidence(*of_original) for _, of_original in sorted(waves.items()))
    return Leak(evidence, len(paths), tuple(files), tuple(originals_unread))


def _compare(path: Path, thumbnails: Thumbnails, rows: Sequence[int], read: Callable[[int], Tensor]) -> LeakedFile:
    """Find the original of one leaked image, and what the image has more."""
    try:
        image = grays(read_image(path))
    except AdvencError as error:
        return LeakedFile(path=path, problem=str(error))
    match = find_original(image, thumbnails, lambda number: grays(read(rows[number])))
    if match is None:
        return LeakedFile(path=path)
    row = rows[match.row]
    original = grays(read(row))
    waves = waves_of(original, residual_of(original, image, match.placement))
    return LeakedFile(path=path, original=row, evidence=Evidence(content_of(read(row)), waves))


def _pictures(
    originals: Originals, rows: list[int], unread: list[tuple[str, str]], advance: Advance
) -> Iterator[Image]:
    """Yield the gray pixels of each original that can be read; note its row, or why it cannot be."""
    for row, file in enumerate(originals.folder.files):
        advance(1)
        try:
            image = grays(originals.image(row))
        except AdvencError as error:
            unread.append((file.id, str(error)))
            continue
        rows.append(row)
        yield image


def grays(image: Tensor) -> Image:
    """The mean of the channels of ``(C, H, W)``: gray pixels ``(H, W)``, float64."""
    found: Image = image.double().mean(dim=0).numpy()
    return found
