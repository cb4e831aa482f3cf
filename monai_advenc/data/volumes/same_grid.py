# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether a mask lies on the grid of its image; where it does not, what to do about it."""

from __future__ import annotations

from itertools import product

from monai_advenc.data.volume import Affine, Volume, corner_distance
from monai_advenc.errors import MaskError

GRID_TOLERANCE_MM = 1e-2
"""How far corresponding corners of image and mask may lie apart; headers round their numbers."""

GRID_TOLERANCE_VOXELS = 0.1
"""The same in sides of voxels, where they are so small that this is less."""


def require_same_grid(image: Volume, mask: Volume) -> None:
    """Raise :class:`MaskError` unless image and mask have one shape and their corners coincide."""
    shape = image.voxels.shape
    is_same_shape = shape == mask.voxels.shape
    tolerance = min(GRID_TOLERANCE_MM, GRID_TOLERANCE_VOXELS * min(image.spacing))
    apart = corner_distance(shape, image.affine, mask.affine)
    if is_same_shape and apart <= tolerance:
        return
    # With its axes exchanged, a mask of the other form has the same lengths in another order.
    if sorted(shape) == sorted(mask.voxels.shape):
        _refuse_two_forms(image, mask, tolerance)
    if not is_same_shape:
        raise MaskError(
            f"the mask {mask.source} has shape {mask.voxels.shape}, its image {shape}; resample the mask onto the image"
        )
    raise MaskError(
        f"the mask {mask.source} lies {apart:.3g} mm away from its image (another affine); "
        "resample the mask onto the image"
    )


def _refuse_two_forms(image: Volume, mask: Volume, tolerance: float) -> None:
    """Raise if image or mask has a sform and a qform that disagree: interpolating it would move the tumor."""
    two_forms = [each for each in (image, mask) if len(_forms(each)) > 1]
    if not two_forms:
        return
    apart = "; ".join(
        f"sform and qform of {each.source} lie {corner_distance(each.voxels.shape, *_forms(each)):.3g} mm apart"
        for each in two_forms
    )
    pairs = product(_forms(image), _forms(mask))
    fits = any(corner_distance(image.voxels.shape, one, other) <= tolerance for one, other in pairs)
    qform = "but by the qform" if fits else "nor by the qform"
    raise MaskError(
        f"the mask {mask.source} does not fit its image by the sform, {qform}: {apart}; find out on which form the "
        "mask was drawn, and copy the image's header to the mask if it has the image's voxels"
    )


def _forms(volume: Volume) -> list[Affine]:
    return [volume.affine] if volume.other_form is None else [volume.affine, volume.other_form]
