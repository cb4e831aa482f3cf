# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Points in millimeters, soft-edged shapes and smooth random fields: what phantoms are drawn with."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
"""One number a voxel, of the volume's shape or broadcastable to it."""

Position = tuple[float, float, float]
"""Millimeters to the right, to the front and upward of the middle of the brain (RAS+)."""


class Points(NamedTuple):
    """Where each voxel lies in the head, in millimeters (RAS+)."""

    x: Array
    y: Array
    z: Array


def ellipsoid(points: Points, center: Position, radii: Position) -> Array:
    """About the distance in mm from each point to an ellipsoid's surface; positive inside."""
    offsets = [(axis - middle) / radius for axis, middle, radius in zip(points, center, radii, strict=True)]
    distance: Array = ((1 - np.sqrt(sum(offset * offset for offset in offsets))) * min(radii)).astype(np.float32)
    return distance


def inside(distance: Array, softness: float) -> Array:
    """Share of a voxel inside a surface, from 0 to 1, for an edge that is ``softness`` mm wide (partial volume)."""
    share: Array = np.clip(distance / softness + np.float32(0.5), 0, 1)
    return share


def paint(image: Array, share: Array, value: Array | float) -> None:
    """Replace ``share`` of each voxel's content by ``value``, in place."""
    image += share * (value - image)


def smooth_field(generator: np.random.Generator, shape: tuple[int, ...], knots: tuple[int, int, int]) -> Array:
    """A random field of about zero mean and unit variance that varies over ``1 / knots`` of the volume.

    Args:
        generator: Where the knots' values are drawn from.
        shape: Shape of the result.
        knots: Number of independent values along each axis, at least 2.
    """
    field = generator.standard_normal(knots, dtype=np.float32)
    for axis, (size, count) in enumerate(zip(shape, knots, strict=True)):
        field = np.moveaxis(np.tensordot(_interpolation(size, count), field, axes=(1, axis)), 0, axis)
    return field


@cache
def _interpolation(size: int, knots: int) -> Array:
    """Matrix ``(size, knots)`` from values at evenly spaced knots to voxels, keeping the variance."""
    position = np.linspace(0, knots - 1, size)[:, None]
    weights = np.cos(np.clip(np.abs(position - np.arange(knots)), 0, 1) * np.pi / 2)
    return weights.astype(np.float32)  # Squares of neighboring weights sum to one.
