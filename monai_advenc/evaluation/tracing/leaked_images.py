# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read leaked images and turn them into evidence about the marks in them, whatever their names and sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


@dataclass(frozen=True)
class Leak:
    """Leaked images, compared with their originals.

    Attributes:
        evidence: What they say about marks, one entry for each original.
        found: Image files that leaked.
        used: Those of an original.
        unmatched: Names of those of no original.
        unread: Names of those that cannot be read, each with the reason.
        originals_unread: Ids of originals that cannot be read, each with the reason.
    """

    evidence: tuple[Evidence, ...]
    found: int
    used: int
    unmatched: tuple[str, ...]
    unread: tuple[tuple[str, str], ...]
    originals_unread: tuple[tuple[str, str], ...] = ()


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
    waves: dict[int, Image] = {}
    unmatched: list[str] = []
    unread: list[tuple[str, str]] = []
    with progress.stage("Comparing leaked images", len(chosen)) as advance:
        for path in chosen:
            advance(1)
            try:
                image = grays(read_image(path))
            except AdvencError as error:
                unread.append((path.name, str(error)))
                continue
            match = find_original(image, thumbnails, lambda number: grays(read(rows[number])))
            if match is None:
                unmatched.append(path.name)
                continue
            row = rows[match.row]
            original = grays(read(row))
            own = waves_of(original, residual_of(original, image, match.placement))
            waves[row] = waves.get(row, 0) + own
    evidence = tuple(Evidence(content_of(read(row)), each) for row, each in sorted(waves.items()))
    used = len(chosen) - len(unmatched) - len(unread)
    return Leak(evidence, len(paths), used, tuple(unmatched), tuple(unread), tuple(originals_unread))


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
