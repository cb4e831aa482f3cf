# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""MONAI transforms that cut a volume at its largest tumor cross-section."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Orientation, Transform
from monai.transforms.lazy.functional import apply_pending
from monai.utils import MetaKeys, TransformBackends, convert_to_tensor
from torch import Tensor

from monai_advenc.data.anatomical_planes import PLANES, Plane
from monai_advenc.data.tumor import tumor_voxels
from monai_advenc.data.volume import corner_distance
from monai_advenc.data.volumes.cross_section import largest_cross_section
from monai_advenc.data.volumes.same_grid import GRID_TOLERANCE_VOXELS
from monai_advenc.errors import MaskError, SettingsError, VolumeError


class LargestCrossSection(Transform):
    """Cut a volume at the slice with the largest tumor area (section 5), for any orientation of its axes.

    Choice and orientation follow :func:`monai_advenc.data.volumes.cross_section.cut_cross_section`; intensities do not
    change. Lengths play no part: the affine of the slice keeps the unit of the volume's, which for NIfTI in micrometers
    or meters is what MONAI reads, while the commands convert to millimeters.

    Args:
        plane: ``"axial"``, ``"coronal"`` or ``"sagittal"``.
        labels: Mask values that count as tumor; ``None``: all but 0.

    Raises:
        SettingsError: The plane is unknown.

    Example:
        >>> from monai_advenc import LargestCrossSection
        >>> volume, mask = torch.rand(1, 32, 32, 8), torch.zeros(1, 32, 32, 8)
        >>> mask[:, 10:20, 10:20, 3] = 1
        >>> LargestCrossSection(plane="axial")(volume, mask).shape
        torch.Size([1, 32, 32])
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, plane: Plane = "axial", labels: tuple[int, ...] | None = None) -> None:
        if plane not in PLANES:
            raise SettingsError(f"unknown plane {plane!r}; choose one of {', '.join(PLANES)}")
        self.plane = plane
        self.labels = labels
        self.orient = Orientation(axcodes=PLANES[plane], labels=None)

    def index_of(self, mask: Any, image: Any = None) -> int:
        """Index of the slice along the last axis of the oriented mask.

        Args:
            mask: ``(1, X, Y, Z)``.
            image: ``(C, X, Y, Z)`` on its grid, of which the first channel must not be the mask; ``None``: not known.

        Raises:
            MaskError: The mask is refused by :func:`monai_advenc.data.tumor.tumor_voxels`.
        """
        values = self._orient(mask)[0].cpu().numpy()
        shown = None if image is None else self._orient(image)[0].cpu().numpy()
        return largest_cross_section(tumor_voxels(values, "the mask", self.labels, shown))

    def cut(self, volume: Any, index: int) -> MetaTensor:
        """Cut a slice; its affine maps ``(h, w, 0)`` to the world.

        Args:
            volume: ``(C, X, Y, Z)``.
            index: Which slice along the last axis of the oriented volume, from :meth:`index_of`.

        Returns:
            ``(C, H, W)``.
        """
        placed = _applied(volume)
        oriented = self._orient(placed)
        section = oriented.as_tensor()[..., index].contiguous()
        step = torch.eye(4, dtype=oriented.affine.dtype)
        step[2, 3] = index
        meta = {**oriented.meta, MetaKeys.SPATIAL_SHAPE: np.asarray(section.shape[1:])}
        # What was applied before the cut; the orientation here is part of the cut.
        cut = MetaTensor(section, meta=meta, applied_operations=list(placed.applied_operations))
        cut.affine = oriented.affine @ step
        return cut

    def __call__(  # type: ignore[override]  # MONAI's base class knows one argument, its own transforms take more.
        self, volume: Any, mask: Any
    ) -> MetaTensor:
        """Cut.

        Args:
            volume: ``(C, X, Y, Z)``; pending lazy operations are applied first, to both.
            mask: ``(1, X, Y, Z)`` on the same grid, up to a tenth of a voxel. The affine of the volume decides the
                orientation of both; a plain tensor has the affine of the other.

        Returns:
            ``(C, H, W)``.

        Raises:
            MaskError: The mask is on another grid, or refused by :func:`monai_advenc.data.tumor.tumor_voxels`.
        """
        (cut,) = self.cut_all([volume], mask)
        return cut

    def cut_all(self, volumes: Sequence[Any], mask: Any) -> list[MetaTensor]:
        """Cut volumes at the same slice; the first with an affine decides the orientation of all.

        Args:
            volumes: Each ``(C, X, Y, Z)``. The first is the image, unless it is the mask: the two must differ.
            mask: ``(1, X, Y, Z)`` on the same grid.

        Returns:
            For each volume ``(C, H, W)``.

        Errors are those of :meth:`LargestCrossSection.__call__`.
        """
        placed, placed_mask = [_applied(volume) for volume in volumes], _applied(mask)
        for volume in placed:
            _require_same_shape(volume, placed_mask)
        given = zip([*volumes, mask], [*placed, placed_mask], strict=True)
        affine, *others = [tensor.affine for old, tensor in given if isinstance(old, MetaTensor)] or [torch.eye(4)]
        # In voxels, because MONAI keeps the unit of the file.
        tolerance = GRID_TOLERANCE_VOXELS * float(torch.linalg.vector_norm(affine[:3, :3].double(), dim=0).min())
        shape, here = tuple(placed_mask.shape[1:]), affine.double().numpy()
        if any(corner_distance(shape, here, other.double().numpy()) > tolerance for other in others):
            raise MaskError("the mask has another affine than its volume; resample it onto the volume")
        image = _with_affine(placed[0], affine) if volumes and volumes[0] is not mask else None
        index = self.index_of(_with_affine(placed_mask, affine), image)
        return [self.cut(_with_affine(volume, affine), index) for volume in placed]

    def _orient(self, volume: Any) -> MetaTensor:
        # As usual in MONAI, orientation changes the array and the affine.
        return MetaTensor(self.orient(_applied(volume)))


class LargestCrossSectiond(MapTransform, InvertibleTransform):
    """Dictionary version of :class:`LargestCrossSection`.

    The inverse leaves a slice as it is: what came after the cut can be undone, what came before it cannot.

    Args:
        keys: Keys to cut, all at the same slice, which the mask decides; they may include the mask.
        mask_key: Key of the mask.
        plane: See :class:`LargestCrossSection`.
        labels: See :class:`LargestCrossSection`.
        allow_missing_keys: Whether to skip keys that a sample lacks.

    Example:
        >>> from monai_advenc import LargestCrossSectiond
        >>> volume, mask = torch.rand(1, 32, 32, 8), torch.zeros(1, 32, 32, 8)
        >>> mask[:, 10:20, 10:20, 3] = 1
        >>> LargestCrossSectiond(["image", "mask"])({"image": volume, "mask": mask})["mask"].sum()
        metatensor(100.)
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
        """Replace each key's volume by its slice.

        Args:
            data: A sample: volumes ``(C, X, Y, Z)`` at the keys, and their mask ``(1, X, Y, Z)``.

        Returns:
            A copy, with ``(C, H, W)`` at each key.

        Errors are those of :meth:`LargestCrossSection.__call__`.
        """
        result = dict(data)
        # The image's affine decides the orientation, so that the mask, which may be cut too, comes last.
        keys = sorted(self.key_iterator(result), key=lambda key: key == self.mask_key)
        if keys:
            cuts = self.cross_section.cut_all([result[key] for key in keys], result[self.mask_key])
            result.update(zip(keys, cuts, strict=True))
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the slices as they are.

        Args:
            data: A sample with slices ``(C, H, W)`` at the keys.

        Raises:
            VolumeError: Something was applied to a volume before it was cut, which a slice cannot undo.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            earlier = [str(each.get("class")) for each in getattr(result[key], "applied_operations", [])]
            if earlier:
                raise VolumeError(
                    f"LargestCrossSectiond cannot be undone, so that {', '.join(earlier)} before it cannot be either: "
                    f"{key!r} has only one slice left; invert the transforms after the cut alone"
                )
        return result


def _applied(volume: Any) -> MetaTensor:
    """A volume as a tensor with an affine, its pending lazy operations applied."""
    tensor: Tensor = convert_to_tensor(volume, track_meta=True)
    if not isinstance(tensor, MetaTensor):
        tensor = MetaTensor(tensor)
    return MetaTensor(apply_pending(tensor)[0]) if tensor.pending_operations else tensor


def _with_affine(volume: MetaTensor, affine: Tensor) -> MetaTensor:
    meta = {**volume.meta, MetaKeys.AFFINE: affine}
    return MetaTensor(volume.as_tensor(), meta=meta, applied_operations=list(volume.applied_operations))


def _require_same_shape(volume: MetaTensor, mask: MetaTensor) -> None:
    if tuple(volume.shape[1:]) != tuple(mask.shape[1:]) or len(volume.shape) != 4 or mask.shape[0] != 1:
        raise MaskError(
            f"expected a volume (C, X, Y, Z) and its mask (1, X, Y, Z), got {tuple(volume.shape)} and "
            f"{tuple(mask.shape)}; resample the mask onto the volume"
        )


LargestCrossSectionD = LargestCrossSectionDict = LargestCrossSectiond
