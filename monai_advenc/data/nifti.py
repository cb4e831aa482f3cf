# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading volumes with nibabel: NIfTI-1 and 2, single files and pairs, Analyze, MGH."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from monai_advenc.data.quiet_parsers import quiet_parsers
from monai_advenc.data.volume import Affine, Volume, is_usable_affine
from monai_advenc.errors import MaskError, VolumeError

NIFTI_SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img", ".mgz", ".mgh")


def read_volume(path: Path) -> Volume:
    """Read a scalar volume.

    Args:
        path: A file with one of :data:`NIFTI_SUFFIXES`.

    Returns:
        Voxels ``(X, Y, Z)``, float32, scaled by the header; a fourth axis of length one is dropped.

    Raises:
        VolumeError: The file is missing, damaged, no volume, 4-D, RGB, empty, or holds NaN.
    """
    values, affine = _load(path)
    volume = Volume(values.astype(np.float32), affine, str(path))
    if not np.isfinite(volume.voxels).all():
        raise VolumeError(f"{path} holds NaN or infinite voxels; correct or leave out the case")
    return volume


def read_mask(path: Path) -> Volume:
    """Read a label volume.

    Returns:
        Voxels ``(X, Y, Z)``, int32. Files that store labels as floats are welcome if the values are whole.

    Raises:
        MaskError: A value is not a whole number.
        VolumeError: As :func:`read_volume`.
    """
    values, affine = _load(path)
    labels = np.rint(values)
    if not np.array_equal(labels, values) or np.abs(labels.astype(np.float64)).max(initial=0) > np.iinfo(np.int32).max:
        raise MaskError(
            f"{path} holds values that are no labels; expected whole numbers of 32 bits: give the segmentation"
        )
    return Volume(labels.astype(np.int32), affine, str(path))


def read_slice_affine(path: Path) -> Affine | None:
    """The affine of a slice stored as NIfTI; ``None`` for other files.

    Raises:
        VolumeError: The file is damaged.
    """
    return _load(path, scalar=False)[1] if path.name.lower().endswith(NIFTI_SUFFIXES) else None


def _load(path: Path, *, scalar: bool = True) -> tuple[NDArray[Any], Affine]:
    if not path.is_file():
        raise VolumeError(f"{path} does not exist; check the path")
    try:
        with quiet_parsers():
            image: Any = nibabel.load(path)
            if scalar:
                _require_scalar_volume(image, path)
            values = np.asarray(image.dataobj)
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name if error.filename else "the other file of the pair"
        raise VolumeError(f"{path} is only half of a pair: expected {missing} next to it; give both files") from None
    except Exception as error:  # Parsers raise whatever the damaged byte led them to.
        if isinstance(error, VolumeError):
            raise
        problem = " ".join(str(error).split())[:160]
        raise VolumeError(f"cannot read {path}: damaged or no volume ({problem}); get the file again") from None
    if scalar:
        values = values.reshape(values.shape[:3])
    if not is_usable_affine(image.affine):
        raise VolumeError(
            f"{path} has no usable affine; expected three independent axes: set its orientation with a converter first"
        )
    return values, np.asarray(image.affine, dtype=np.float64)


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
