# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Padding that cutting added around images: its columns in the table of slices, and its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from monai_advenc.errors import DatasetError, ImageError
from monai_advenc.files.names import comparable
from monai_advenc.files.tables import read_table

SLICE_TABLE: Final = "slices.csv"
"""The table next to the class folders of slices."""

PADDING_COLUMNS: Final = ("pad_top", "pad_bottom", "pad_left", "pad_right")
"""Columns of the table; it has them only if some slice is padded."""


@dataclass(frozen=True, slots=True)
class Padding:
    """Number of rows and columns that were added on each side of an image."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def of(cls, starts: Sequence[int], old: Sequence[int], new: Sequence[int]) -> Padding | None:
        """The padding of an image of ``new`` size that begins at ``starts`` of one of ``old`` size; ``None`` if none.

        Args:
            starts: Row and column of the old image at which the new one begins; below 0 where it begins before.
            old: Rows and columns before.
            new: Rows and columns after.
        """
        sides = [
            side
            for start, before, after in zip(starts, old, new, strict=True)
            for side in (max(0, -start), max(0, start + after - before))
        ]
        return cls(*sides) if any(sides) else None

    def as_tuple(self) -> tuple[int, ...]:
        """In the order of :data:`PADDING_COLUMNS`."""
        return astuple(self)

    def real_pixels(self, image: Tensor, source: Path) -> Tensor:
        """The pixels that are no padding, ``(1, H, W)``, bool.

        Args:
            image: ``(C, H, W)``, the padded image.
            source: Its file, for messages.

        Raises:
            ImageError: The padding does not fit the image: nothing is left, or its pixels differ from each other.
        """
        height, width = image.shape[-2:]
        real = torch.zeros(1, height, width, dtype=torch.bool)
        real[:, self.top : max(0, height - self.bottom), self.left : max(0, width - self.right)] = True
        border = image[:, ~real[0]]
        if not real.any() or real.all() or (border != border[:, :1]).any():
            raise ImageError(
                f"{source} has no padding of {self.top}, {self.bottom}, {self.left} and {self.right} pixels (top, "
                f"bottom, left, right), which {SLICE_TABLE} says; cut the slices again, or take the columns "
                f"{', '.join(PADDING_COLUMNS)} out of the table if the images have changed since"
            )
        return real


def read_padding(table: Path) -> dict[str, Padding]:
    """Read the padding of images from a table of slices.

    Returns:
        By the :func:`~monai_advenc.files.names.comparable` name of the image; empty without a table or its columns.

    Raises:
        DatasetError: The table cannot be read, or holds other than whole numbers.
    """
    if not table.is_file() or not _has_padding(table):
        return {}
    found = {}
    for row in read_table(table, ("case", *PADDING_COLUMNS)):
        cells = [row[name] for name in PADDING_COLUMNS]
        if not all(cell.isascii() and cell.isdigit() for cell in cells):
            raise DatasetError(
                f"{table} has {', '.join(cells)} as {', '.join(PADDING_COLUMNS)} of {row['case'][:100]!r}; expected "
                "whole numbers: cut the slices again"
            )
        padding = Padding(*map(int, cells))
        if any(padding.as_tuple()):
            found[comparable(row["case"])] = padding
    return found


def _has_padding(table: Path) -> bool:
    """Whether the header names a column of padding; other tables of that name are not ours to read."""
    try:
        with table.open(encoding="utf-8-sig", errors="replace") as file:
            header = file.readline().lower()
    except OSError as error:
        raise DatasetError(f"cannot read the table {table} ({error.strerror}); check its permissions") from None
    return any(name in header for name in PADDING_COLUMNS)
