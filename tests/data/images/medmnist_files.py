"""Small files of the form of MedMNIST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COUNTS = {"train": 12, "val": 4, "test": 6}


def write_medmnist(
    path: Path, *, classes: int = 2, side: int = 28, color: bool = False, counts: dict[str, int] | None = None
) -> dict[str, NDArray[Any]]:
    """Write a file in which a bar of the class lies on noise; returns its arrays.

    Arrays are named, shaped and typed as those of MedMNIST: ``train_images`` ``(N, H, W)`` or ``(N, H, W, 3)``, uint8,
    ``train_labels`` ``(N, 1)``, uint8, and the same for ``val`` and ``test``.
    """
    draw, arrays = np.random.default_rng(len(path.name)), {}
    for part, count in (counts or COUNTS).items():
        labels = np.arange(count, dtype=np.uint8)[:, None] % classes
        images = draw.integers(60, 110, (count, side, side, *([3] if color else [])), dtype=np.uint8)
        height = side // classes
        for image, label in zip(images, labels[:, 0].tolist(), strict=True):
            image[label * height + 2 : (label + 1) * height - 2, 4:-4] += 90
        arrays |= {f"{part}_images": images, f"{part}_labels": labels}
    np.savez_compressed(path, **arrays)
    return arrays
