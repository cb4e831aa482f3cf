# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The paper's five tumor classes (section 5), each with its site, outline and inner pattern after contrast agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from monai_advenc.data.phantoms.geometry import Array, Points, Position, ellipsoid, inside, smooth_field

Pattern = Callable[[Points, Array, np.random.Generator], Array]
"""From points relative to the middle of the tumor (mm) and depth in it (mm) to its signal."""


class Tumor(NamedTuple):
    """What sets one class of tumor apart.

    Attributes:
        sites: Typical middles in the standard head, in mm; one is drawn, its side too.
        spread: Standard deviation of the middle about its site, in mm.
        lobulation: How far the outline swings in and out, as a share of the radius.
        pattern: Its signal, as a share of full scale.
    """

    sites: tuple[Position, ...]
    spread: float
    lobulation: float
    pattern: Pattern


def _even(points: Points, depth: Array, generator: np.random.Generator) -> Array:
    """Meningioma: strong and even enhancement."""
    return 0.95 + 0.02 * smooth_field(generator, depth.shape, (8, 8, 4))


def _honeycomb(points: Points, depth: Array, generator: np.random.Generator) -> Array:
    """Chordoma: bright septa around dark lobules."""
    phase = generator.uniform(0, 2 * np.pi, 3)
    waves = np.cos(0.62 * points.x + phase[0]) * np.cos(0.62 * points.y + phase[1]) * np.cos(0.2 * points.z + phase[2])
    signal: Array = (0.72 + 0.3 * waves).astype(np.float32)
    return signal


def _spotted(points: Points, depth: Array, generator: np.random.Generator) -> Array:
    """Schwannoma: bright, with a few small cysts."""
    signal = np.full(depth.shape, 0.88, dtype=np.float32)
    for _ in range(generator.integers(3, 6)):
        x, y, z = generator.normal(0, 8, 3)
        signal -= 0.5 * inside(ellipsoid(points, (x, y, z), (5.0, 5.0, 10.0)), 4)
    return signal


def _graded(points: Points, depth: Array, generator: np.random.Generator) -> Array:
    """Pituitary adenoma: moderate enhancement, brighter toward one side."""
    angle = generator.uniform(0, 2 * np.pi)
    slope = (points.x * np.cos(angle) + points.y * np.sin(angle)) / 20
    signal: Array = (0.8 + 0.15 * np.clip(slope, -1, 1)).astype(np.float32)
    return signal


def _cystic(points: Points, depth: Array, generator: np.random.Generator) -> Array:
    """Craniopharyngioma: a dark cyst in a bright wall."""
    wall = generator.uniform(4, 6)
    return (0.92 - 0.38 * inside(depth - np.float32(wall), 3)).astype(np.float32)


SELLA, SUPRASELLAR, CLIVUS, ANGLE = (0.0, 8.0, -24.0), (0.0, 6.0, -12.0), (0.0, 0.0, -40.0), (26.0, -20.0, -38.0)

TUMORS: dict[str, Tumor] = {
    # Meninges nearly everywhere: convexity, next to the falx, sphenoid wing, tuberculum, petrous bone.
    "meningioma": Tumor(
        ((50.0, 10.0, 26.0), (12.0, 40.0, 40.0), (36.0, 32.0, -12.0), (6.0, 22.0, -14.0), ANGLE), 5.0, 0.06, _even
    ),
    "chordoma": Tumor((CLIVUS,), 4.0, 0.18, _honeycomb),
    "schwannoma": Tumor((ANGLE,), 4.0, 0.08, _spotted),
    "pituitary_adenoma": Tumor((SELLA,), 3.0, 0.05, _graded),
    "craniopharyngioma": Tumor((SUPRASELLAR,), 3.0, 0.12, _cystic),
}
"""The classes, in the order of the paper's table 11."""


def draw_tumor(name: str, points: Points, generator: np.random.Generator, *, overlap: float) -> tuple[Array, Array]:
    """One tumor of a class in the standard head.

    Args:
        name: A class of :data:`TUMORS`.
        points: Where each voxel lies in the standard head, in mm.
        generator: Decides site, size, outline and pattern.
        overlap: Probability that the tumor grows where any of the classes may, not where its own class does.

    Returns:
        Depth inside the tumor's surface in mm (negative outside), and the tumor's signal, about 0 to 1.
    """
    tumor = TUMORS[name]
    anywhere = tuple(other.sites[generator.integers(len(other.sites))] for other in TUMORS.values())
    sites = anywhere if generator.random() < overlap else tumor.sites
    site = sites[generator.integers(len(sites))]
    side = generator.choice((-1.0, 1.0))
    x, y, z = generator.normal((side * site[0], site[1], site[2]), tumor.spread)
    radius = generator.uniform(16, 24)
    stretch = generator.uniform(0.85, 1.15, 3)
    around = Points(*((axis - middle).astype(np.float32) for axis, middle in zip(points, (x, y, z), strict=True)))
    radii = (radius * stretch[0], radius * stretch[1], radius * stretch[2])
    swing = tumor.lobulation * radius * smooth_field(generator, around.x.shape, (10, 10, 8))
    depth = ellipsoid(around, (0.0, 0.0, 0.0), radii) + swing.astype(np.float32)
    return depth, tumor.pattern(around, depth, generator)
