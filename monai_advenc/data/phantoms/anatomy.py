# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A healthy head in contrast-enhanced T1-weighted MRI, coarse but in its place: brain, skull, face, fluid spaces."""

from __future__ import annotations

import numpy as np

from monai_advenc.data.phantoms.geometry import Array, Points, ellipsoid, inside, paint, smooth_field

AIR, BONE, FLUID, GRAY, WHITE, SOFT, MARROW, DURA, FAT = 0.0, 0.08, 0.15, 0.42, 0.62, 0.36, 0.55, 0.72, 0.8
"""Signal of each tissue as a share of full scale."""

BRAIN_RADII = (66.0, 82.0, 64.0)
"""Half axes of the brain in mm: to the side, to the front, upward."""

SKULL_MM, SCALP_MM = 7.0, 13.0
"""Outer surfaces of skull and scalp, in mm outside the brain."""


def head_points(points: Points, generator: np.random.Generator) -> Points:
    """Where each voxel would lie in the standard head, for a head of random size, turn and small asymmetry."""
    turn = generator.normal(0, 0.05)
    scale = generator.normal(1, 0.03, 3)
    shift = generator.normal(0, 1.5, 3)
    shape = np.broadcast_shapes(*(axis.shape for axis in points))
    turned = Points(
        (points.x - shift[0]) * np.cos(turn) + (points.y - shift[1]) * np.sin(turn),
        (points.y - shift[1]) * np.cos(turn) - (points.x - shift[0]) * np.sin(turn),
        points.z - shift[2],
    )
    warp = [smooth_field(generator, shape, (4, 4, 3)) for _ in range(3)]
    return Points(
        *(
            (axis / factor + np.float32(1.5) * bend).astype(np.float32)
            for axis, factor, bend in zip(turned, scale, warp, strict=True)
        )
    )


def floor_of_skull(points: Points) -> Array:
    """Height in mm of the skull base under each point: front fossa, middle fossae at the sides, deep at the back."""
    front = np.float32(-20)
    side = 22 * inside(np.abs(points.x) - 18, 14) * inside(42 - points.y, 24)
    back = 42 * inside(-6 - points.y, 20)
    height: Array = (front - np.maximum(side, back)).astype(np.float32)
    return height


def depth_in_skull(points: Points) -> Array:
    """About the distance in mm from each point to the vault's outer surface; positive inside, skull base included."""
    return ellipsoid(points, (0.0, 0.0, 0.0), BRAIN_RADII) + np.float32(SKULL_MM)


def healthy_head(points: Points, generator: np.random.Generator) -> Array:
    """Signal of a head without tumor, about 0 to 1, at ``points`` of the standard head."""
    shape = points.x.shape
    dome = ellipsoid(points, (0.0, 0.0, 0.0), BRAIN_RADII)
    depth = np.minimum(dome, points.z - floor_of_skull(points))
    folds = smooth_field(generator, shape, (20, 20, 10))
    image = np.zeros(shape, dtype=np.float32)
    paint(image, inside(dome + SCALP_MM, 3), FAT)
    paint(image, inside(dome + SCALP_MM - 3, 3), SOFT)
    paint(image, inside(dome + SKULL_MM, 3), BONE)
    _paint_skull_base(image, points, dome, smooth_field(generator, shape, (10, 10, 6)))
    paint(image, inside(depth + 2, 3), FLUID)
    paint(image, inside(depth - 1, 3), GRAY)
    paint(image, inside(depth - 8 - 6 * folds, 4), WHITE)
    # Sulci: folds of the surface that hold fluid.
    paint(image, inside(depth, 3) * inside(9 * folds - depth - 4, 6), FLUID)
    _paint_deep_structures(image, points, depth, generator)
    return image


def _paint_skull_base(image: Array, points: Points, dome: Array, mottle: Array) -> None:
    below = inside(floor_of_skull(points) - 3 - points.z, 4) * inside(dome + SKULL_MM - 3, 3)
    paint(image, below, SOFT + 0.12 * mottle)
    paint(image, inside(ellipsoid(points, (0.0, 34.0, -36.0), (11.0, 18.0, 10.0)), 4), AIR)  # Sphenoid, ethmoid sinus.
    paint(image, inside(ellipsoid(points, (0.0, 3.0, -44.0), (12.0, 8.0, 17.0)), 4), MARROW)  # Clivus.
    for side in (-1.0, 1.0):
        paint(image, inside(ellipsoid(points, (side * 36.0, -8.0, -40.0), (15.0, 9.0, 8.0)), 4), BONE)  # Petrous bone.
        paint(image, inside(ellipsoid(points, (side * 31.0, 66.0, -30.0), (13.0, 13.0, 13.0)), 3), GRAY * 0.7)  # Eye.


def _paint_deep_structures(image: Array, points: Points, depth: Array, generator: np.random.Generator) -> None:
    width = generator.uniform(0.7, 1.5)
    for side in (-1.0, 1.0):
        bend = points._replace(x=points.x - side * np.float32(0.009) * points.y * points.y)
        lateral = ellipsoid(bend, (side * 9.0, 0.0, 10.0), (7.0 * width, 34.0, 11.0 * width))
        paint(image, inside(lateral, 3), FLUID)
        nuclei = ellipsoid(points, (side * 18.0, 2.0, 2.0), (8.0, 18.0, 9.0))
        paint(image, 0.7 * inside(nuclei, 6), GRAY)
    paint(image, inside(ellipsoid(points, (0.0, -4.0, -3.0), (2.5 * width, 12.0, 9.0)), 3), FLUID)  # Third ventricle.
    falx = (
        inside(np.float32(1.2) - np.abs(points.x), 2.4)
        * inside(points.z - 14, 6)
        * inside(30 - depth, 6)
        * inside(depth + 2, 3)
    )
    paint(image, 0.7 * falx, DURA)
    hindbrain = ellipsoid(points, (0.0, -45.0, -38.0), (45.0, 30.0, 20.0))
    folia = smooth_field(generator, image.shape, (24, 24, 8))
    paint(image, inside(hindbrain, 5), GRAY + 0.06 + 0.05 * folia)
    paint(image, inside(ellipsoid(points, (0.0, -15.0, -36.0), (20.0, 14.0, 30.0)), 5), FLUID)  # Cisterns.
    paint(image, inside(ellipsoid(points, (0.0, -20.0, -36.0), (13.0, 11.0, 32.0)), 4), WHITE)  # Brain stem.
    paint(image, inside(ellipsoid(points, (0.0, 8.0, -17.0), (13.0, 12.0, 6.0)), 4), FLUID)  # Suprasellar cistern.
    paint(image, inside(ellipsoid(points, (0.0, 8.0, -25.0), (6.0, 5.0, 4.0)), 3), DURA)  # Pituitary gland.
