# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""MONAI transforms that cut a volume at its largest tumor cross-section."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Orientation, Transform
from monai.utils import MetaKeys, TransformBackends, convert_to_tensor
from torch import Tensor

from monai_advenc.data.volumes.cross_section import PLANES, Plane, largest_cross_section
from monai_advenc.errors import MaskError, SettingsError


class LargestCrossSection(Transform):
    """Cut a volume at the slice with the largest tumor area (section 5), for any orientation of its axes.

    Choice and orientation follow :func:`monai_advenc.data.volumes.cross_section.cut_cross_section`; intensities do not
    change.

    Args:
        plane: ``"axial"``, ``"coronal"`` or ``"sagittal"``.
        labels: Mask values that count as tumor; ``None``: all but 0.

    Raises:
        SettingsError: The plane is unknown.
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, plane: Plane = "axial", labels: tuple[int, ...] | None = None) -> None:
        if plane not in PLANES:
            raise SettingsError(f"unknown plane {plane!r}; choose one of {', '.join(PLANES)}")
        self.plane = plane
        self.labels = labels
        self.orient = Orientation(axcodes=PLANES[plane], labels=None)

    def index_of(self, mask: Any) -> int:
        """Index of the slice along the last axis of the oriented mask ``(1, X, Y, Z)``.

        Raises:
            MaskError: The mask is empty.
        """
        oriented = self._orient(mask)
        values = oriented[0].cpu().numpy()
        tumor = values != 0 if self.labels is None else np.isin(values, self.labels)
        return largest_cross_section(tumor)

    def cut(self, volume: Any, index: int) -> MetaTensor:
        """Cut the slice ``(C, H, W)`` of a volume ``(C, X, Y, Z)``; its affine maps ``(h, w, 0)`` to the world."""
        oriented = self._orient(volume)
        section = oriented.as_tensor()[..., index].contiguous()
        step = torch.eye(4, dtype=oriented.affine.dtype)
        step[2, 3] = index
        meta = {**oriented.meta, MetaKeys.SPATIAL_SHAPE: np.asarray(section.shape[1:])}
        cut = MetaTensor(section, meta=meta)
        cut.affine = oriented.affine @ step
        return cut

    def __call__(  # type: ignore[override]  # MONAI's base class knows one argument, its own transforms take more.
        self, volume: Any, mask: Any
    ) -> MetaTensor:
        """Cut.

        Args:
            volume: ``(C, X, Y, Z)``.
            mask: ``(1, X, Y, Z)`` on the same grid.

        Returns:
            ``(C, H, W)``.

        Raises:
            MaskError: The mask is empty or on another grid.
        """
        require_same_shape(volume, mask)
        return self.cut(volume, self.index_of(mask))

    def _orient(self, volume: Any) -> MetaTensor:
        tensor: Tensor = convert_to_tensor(volume, track_meta=True)
        if not isinstance(tensor, MetaTensor):
            tensor = MetaTensor(tensor)
        # As usual in MONAI, orientation changes the array and the affine.
        return MetaTensor(self.orient(tensor))


class LargestCrossSectiond(MapTransform):
    """Dictionary version of :class:`LargestCrossSection`.

    Args:
        keys: Keys to cut, all at the same slice, which the mask decides; they may include the mask.
        mask_key: Key of the mask.
        plane: See :class:`LargestCrossSection`.
        labels: See :class:`LargestCrossSection`.
        allow_missing_keys: Whether to skip keys that a sample lacks.
    """

    backend = LargestCrossSection.backend

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: Hashable = "mask",
        plane: Plane = "axial",
        labels: tuple[int, ...] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.cross_section = LargestCrossSection(plane, labels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each key's volume by its slice."""
        result = dict(data)
        keys = list(self.key_iterator(result))
        if not keys:
            return result
        mask = result[self.mask_key]
        index = self.cross_section.index_of(mask)
        for key in keys:
            require_same_shape(result[key], mask)
            result[key] = self.cross_section.cut(result[key], index)
        return result


def require_same_shape(volume: Any, mask: Any) -> None:
    """Raise :class:`MaskError` unless the spatial shapes agree, and the affines if both have one."""
    if tuple(volume.shape[1:]) != tuple(mask.shape[1:]) or len(volume.shape) != 4 or mask.shape[0] != 1:
        raise MaskError(
            f"expected a volume (C, X, Y, Z) and its mask (1, X, Y, Z), got {tuple(volume.shape)} and "
            f"{tuple(mask.shape)}; resample the mask onto the volume"
        )
    both_placed = isinstance(volume, MetaTensor) and isinstance(mask, MetaTensor)
    if both_placed and not torch.allclose(volume.affine, mask.affine, atol=1e-3):
        raise MaskError("the mask has another affine than its volume; resample it onto the volume")


LargestCrossSectionD = LargestCrossSectionDict = LargestCrossSectiond
