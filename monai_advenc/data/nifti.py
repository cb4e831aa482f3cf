# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading volumes with nibabel: NIfTI-1 and 2, single files and pairs, MGH, and Analyze if its orientation is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from monai_advenc.data.nifti_affine import placed
from monai_advenc.data.nifti_content import load_whole
from monai_advenc.data.quiet_parsers import quiet_parsers
from monai_advenc.data.volume import Volume
from monai_advenc.errors import VolumeError

NIFTI_SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img", ".mgz", ".mgh")


def files_of_volume(path: Path) -> tuple[Path, ...]:
    """The files that a volume is read from: header and voxels of a pair, else the file itself; they may be missing."""
    if not path.name.lower().endswith((".hdr", ".img")):
        return (path,)
    pair = nibabel.Nifti1Pair.filespec_to_file_map(str(path))
    return tuple(Path(str(pair[part].filename)) for part in ("header", "image"))


def read_volume(path: Path, assumed: str | None = None) -> Volume:
    """Read a scalar volume.

    Args:
        path: A file with one of :data:`NIFTI_SUFFIXES`.
        assumed: Where the voxel axes point, such as ``"RAS"``, if the file states no orientation; ``None``: not known.

    Returns:
        Voxels ``(X, Y, Z)``, float32, scaled by the header; a fourth axis of length one is dropped.

    Raises:
        VolumeError: The file is missing, damaged, no volume, 4-D, RGB, empty, holds NaN, or states no orientation.
    """
    read = _load(path, assumed)
    volume = replace(read, voxels=read.voxels.astype(np.float32))
    if not np.isfinite(volume.voxels).all():
        raise VolumeError(f"{path} holds NaN or infinite voxels; correct or leave out the case")
    return volume


def read_mask(path: Path, assumed: str | None = None) -> Volume:
    """Read a label volume; :func:`monai_advenc.data.tumor.tumor_voxels` decides what its values mean.

    Returns:
        Voxels ``(X, Y, Z)`` as the header scales them, whatever they are.

    Raises:
        VolumeError: As :func:`read_volume`, but NaN is left to the rule.
    """
    return _load(path, assumed)


def _load(path: Path, assumed: str | None) -> Volume:
    image, values = read_stored(path, require=_require_scalar_volume)
    affine, other, used = placed(image, path, assumed)
    return Volume(values.reshape(values.shape[:3]), affine, str(path), other_form=other, assumed=used)


def read_stored(path: Path, *, require: Callable[[Any, Path], None] | None = None) -> tuple[Any, NDArray[Any]]:
    """The image as nibabel has it, and its values with all axes of the file.

    Args:
        path: A file with one of :data:`NIFTI_SUFFIXES`.
        require: Looks at the header before the values are read.

    Raises:
        VolumeError: The file is missing or damaged.
    """
    if not path.is_file():
        raise VolumeError(f"{path} does not exist; check the path")
    try:
        with quiet_parsers():
            image = load_whole(path)
            if require is not None:
                require(image, path)
            return image, np.asarray(image.dataobj)
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name if error.filename else "the other file of the pair"
        raise VolumeError(f"{path} is only half of a pair: expected {missing} next to it; give both files") from None
    except VolumeError:
        raise
    except Exception as error:  # noqa: BLE001 - Parsers raise whatever the damaged byte led them to.
        problem = " ".join(str(error).split())[:160]
        raise VolumeError(f"cannot read {path}: damaged or no volume ({problem}); get the file again") from None


def _require_scalar_volume(image: Any, path: Path) -> None:
    if image.get_data_dtype().names:
        raise VolumeError(f"{path} has RGB voxels; expected one number a voxel: give the image before coloring")
    if np.issubdtype(image.get_data_dtype(), np.complexfloating):
        raise VolumeError(f"{path} has complex voxels; expected real ones: give the magnitude image")
    shape = tuple(image.shape)
    if len(shape) > 3 and np.prod(shape[3:]) != 1:
        raise VolumeError(
            f"{path} is {len(shape)}-D ({int(np.prod(shape[3:]))} volumes); expected one: extract it first"
        )
    if len(shape) < 3 or 0 in shape:
        raise VolumeError(f"{path} has shape {shape}; expected a volume with three axes")
