"""One intact file to damage, and the values that all of them hold."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.data.mutations.independent import Values

ROWS, COLUMNS, SLICES = 32, 36, 3

Write = Callable[[Path], None]


@dataclass(frozen=True)
class Base:
    """An intact file, or several that are read together.

    Attributes:
        name: What it is.
        write: Write the files into an empty folder.
        damaged: Names of the files of which one is damaged.
        read: Read them with this package.
        expect: Read them without it.
        tolerance: How far values may differ: decoders of lossy JPEG may round in different ways.
        is_read: Whether the intact files are read; Analyze is refused.
    """

    name: str
    write: Write
    damaged: tuple[str, ...]
    read: Callable[[Path], Values]
    expect: Callable[[Path], Values]
    tolerance: float = 1e-7
    is_read: bool = True


def stored() -> np.ndarray[Any, Any]:
    """Smooth values with some noise ``(N, rows, columns)``, int16."""
    z, y, x = np.mgrid[:SLICES, :ROWS, :COLUMNS]
    waves = 400 + 200 * np.sin(x / 5 + z) + 150 * np.cos(y / 4)
    return np.rint(waves + np.random.default_rng(0).normal(0, 10, x.shape)).astype(np.int16)


def tumor() -> np.ndarray[Any, Any]:
    mask = np.zeros((SLICES, ROWS, COLUMNS), np.uint8)
    mask[0, 8:14, 9:15] = mask[1, 7:16, 8:18] = 1
    return mask


AFFINE = np.array([[-1.0, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]])


def encoded(pixels: np.ndarray[Any, Any], kind: str, **options: Any) -> bytes:
    """Pixels as Pillow writes them."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()
