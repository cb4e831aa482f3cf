# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Phantom brains: 3-D volumes with one tumor of the paper's five classes each, made from a seed, with masks.

They let everything be tried without patients' data. They look like contrast-enhanced T1-weighted MRI of clinical
resolution (thick axial slices) and place each tumor where its class grows; they are drawings, not simulations, and
nothing measured on them says how well encryption protects real images. In particular :class:`Difficulty` decides how
much of the method's effect shows: a network trained on encrypted slices still reads real ones if tumors are so clear
that it needs no fine pattern to tell the classes apart.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import nibabel
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from monai_advenc.data.phantoms.anatomy import depth_in_skull, head_points, healthy_head
from monai_advenc.data.phantoms.geometry import Points, inside, paint, smooth_field
from monai_advenc.data.phantoms.tumors import TUMORS, draw_tumor
from monai_advenc.errors import OutputError, SettingsError
from monai_advenc.files.atomic import write_atomically, write_once
from monai_advenc.settings import Settings, require_between

PHANTOM_CLASSES: tuple[str, ...] = tuple(TUMORS)
"""The paper's five brain tumors (section 5), as folder names."""

PHANTOM_SHAPE = (64, 64, 16)
"""Voxels to the right, to the front and upward."""

EXTENT_MM = (216.0, 216.0, 128.0)
"""Size of the volume whatever its shape: voxels of the usual shape measure 3.4 x 3.4 x 8 mm."""

FULL_SCALE = 1000.0
"""Stored value of the brightest tissue."""

RECORD_NAME = ".phantoms.json"
"""File next to the class folders that holds the seed and settings of their volumes."""


class Difficulty(Settings):
    """How hard the classes are to tell apart.

    The defaults are the demo's and were chosen for it: hard enough that a network needs fine patterns, which
    encryption overwrites, and easy enough that a small network learns the task within a minute. With every tumor at
    its own class's site (``contrast=1, noise=0.02, overlap=0``) a network trained on encrypted slices still reads two
    thirds to three quarters of real ones.

    Attributes:
        contrast: Share of a tumor's own signal in what is seen; 1 is clear, 0 invisible.
        noise: Standard deviation of the (Rician) noise, as a share of full scale.
        overlap: Probability that a tumor grows at a site of any class instead of its own; at 1 its place says nothing.
    """

    contrast: float = Field(default=0.8, gt=0, le=1)
    noise: float = Field(default=0.03, ge=0, le=0.5)
    overlap: float = Field(default=1.0, ge=0, le=1)


DIFFICULTIES: Mapping[str, Difficulty] = MappingProxyType(
    {"clear": Difficulty(contrast=1, noise=0.02, overlap=0), "demo": Difficulty()}
)
"""Difficulties by name: clear tumors at their own sites, which a small network learns from tens of cases, or the
demo's, which take hundreds."""


def phantom_volume(
    label: int,
    seed: int,
    index: int,
    shape: tuple[int, int, int] = PHANTOM_SHAPE,
    difficulty: Difficulty | None = None,
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """One volume with one tumor; it depends on the arguments alone, whatever was made before.

    Args:
        label: Class of the tumor, an index into :data:`PHANTOM_CLASSES`.
        seed: Seed of the data set, not negative.
        index: Number of the volume in it, not negative.
        shape: Voxels to the right, to the front and upward, at least 16 x 16 x 8.
        difficulty: How hard the classes are to tell apart; ``None``: that of the demo.

    Returns:
        Voxels, about 0 to 1200; mask, 1 in the tumor, of the same shape and never empty; and the 4x4 matrix from voxel
        indices to mm in RAS+.

    Raises:
        SettingsError: There is no such class, a negative seed or index, or too few voxels.
    """
    _check(label, seed, index, shape)
    difficulty = difficulty or Difficulty()
    generator = np.random.default_rng((seed, index, label))
    spacing = [extent / size for extent, size in zip(EXTENT_MM, shape, strict=True)]
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-(size - 1) / 2 * step for size, step in zip(shape, spacing, strict=True)]
    points = head_points(_voxel_centers(shape, affine), generator)
    image = healthy_head(points, generator)
    depth, signal = draw_tumor(PHANTOM_CLASSES[label], points, generator, overlap=difficulty.overlap)
    # A tumor may grow into the bone, but it does not leave the head.
    depth = np.minimum(depth, depth_in_skull(points))
    paint(image, difficulty.contrast * inside(depth, 3), signal)
    mask = depth > 0
    if not mask.any():
        mask.flat[int(depth.argmax())] = True
    image *= 1 + np.float32(0.06) * smooth_field(generator, shape, (3, 3, 2))  # Coil sensitivity.
    real, imaginary = np.float32(difficulty.noise) * generator.standard_normal((2, *shape), dtype=np.float32)
    voxels = FULL_SCALE * np.hypot(image + real, imaginary)
    return voxels.round().astype(np.int16), mask.astype(np.uint8), affine


def _check(label: int, seed: int, index: int, shape: tuple[int, int, int]) -> None:
    if not 0 <= label < len(PHANTOM_CLASSES):
        raise SettingsError(f"expected a label from 0 to {len(PHANTOM_CLASSES) - 1}, got {label}")
    if seed < 0 or index < 0:
        raise SettingsError(f"expected seed and index >= 0, got {seed} and {index}")
    if min(shape[:2]) < 16 or shape[2] < 8:
        raise SettingsError(f"expected at least 16 x 16 x 8 voxels, got {' x '.join(map(str, shape))}")


def _voxel_centers(shape: tuple[int, int, int], affine: NDArray[np.float64]) -> Points:
    axes = (np.arange(size) * affine[axis, axis] + affine[axis, 3] for axis, size in enumerate(shape))
    return Points(*np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij"))


def write_phantoms(
    folder: Path,
    count_per_class: int,
    seed: int,
    *,
    shape: tuple[int, int, int] = PHANTOM_SHAPE,
    difficulty: Difficulty | None = None,
    classes: int = len(PHANTOM_CLASSES),
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write volumes and masks as ``folder/<class>/<case>/image.nii.gz`` and ``seg.nii.gz``.

    Cases are numbered through all classes in turn, so a larger set begins with the smaller one, and one of fewer
    classes is a part of that of all. What is there already stays unchanged: the same call resumes an interrupted run.

    Args:
        folder: Where to write; made if missing.
        count_per_class: Volumes of each class.
        seed: Seed of the data set.
        shape: Voxels of each volume.
        difficulty: How hard the classes are to tell apart; ``None``: that of the demo.
        classes: So many of :data:`PHANTOM_CLASSES`, the first ones.
        progress: Called after each volume with the number done and the number in all.

    Raises:
        SettingsError: A count, seed or shape that cannot be.
        OutputError: The folder holds something else or phantoms of other settings, or the disk refuses.
    """
    if count_per_class < 1:
        raise SettingsError(f"expected at least one volume a class, got {count_per_class}")
    require_between("the number of classes", classes, 1, len(PHANTOM_CLASSES))
    _check(0, seed, 0, shape)
    _claim(folder, seed, shape, difficulty or Difficulty())
    every = range(count_per_class * len(PHANTOM_CLASSES))
    indices = [index for index in every if index % len(PHANTOM_CLASSES) < classes]
    for done, index in enumerate(indices, start=1):
        write_phantom(folder, seed, index, shape=shape, difficulty=difficulty)
        if progress is not None:
            progress(done, len(indices))


def _claim(folder: Path, seed: int, shape: tuple[int, int, int], difficulty: Difficulty) -> None:
    """Record the settings of the volumes, so that a folder never mixes volumes of different settings."""
    record = folder / RECORD_NAME
    # Hidden files are left by an interrupted run or the operating system.
    taken = any(folder.glob("[!.]*")) and not record.exists()
    if taken or (folder.exists() and not folder.is_dir()):
        raise OutputError(
            f"{folder} holds files but no {RECORD_NAME}, so they may not be phantoms; choose a new folder"
        )
    settings = {"seed": int(seed), "shape": [int(size) for size in shape], "difficulty": difficulty.model_dump()}
    write_once(record, settings, f"{folder} holds phantoms of another seed or other settings; choose a new folder")


def write_phantom(
    folder: Path,
    seed: int,
    index: int,
    *,
    shape: tuple[int, int, int] = PHANTOM_SHAPE,
    difficulty: Difficulty | None = None,
) -> Path:
    """Write volume ``index`` of a data set and its mask, unless they are there; return the case's folder."""
    label = index % len(PHANTOM_CLASSES)
    case = folder / PHANTOM_CLASSES[label] / f"case-{index:05d}"
    image_path, mask_path = case / "image.nii.gz", case / "seg.nii.gz"
    if not (image_path.exists() and mask_path.exists()):
        voxels, mask, affine = phantom_volume(label, seed, index, shape, difficulty)
        write_atomically(mask_path, _nifti_bytes(mask, affine), overwrite=True)
        write_atomically(image_path, _nifti_bytes(voxels, affine), overwrite=True)
    return case


def _nifti_bytes(voxels: NDArray[np.int16] | NDArray[np.uint8], affine: NDArray[np.float64]) -> bytes:
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    # Without a time stamp the same seed gives the same bytes. Noise hardly compresses: the fastest level will do.
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)
