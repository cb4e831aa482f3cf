# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypt images: perturb toward every target of the class, combine, round to the file's grid.

The command line, the MONAI transforms, the inferer and the bundles all use these functions, so they produce the same
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from monai_advenc.acceleration.prepare import PreparedNetwork
from monai_advenc.acceleration.processor import require_beside, require_together, to_device
from monai_advenc.encryption.combiners import combine
from monai_advenc.encryption.draws import Draws, moves_of_versions
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.mark import add_marks, content_of
from monai_advenc.encryption.rounding import round_to_grid
from monai_advenc.errors import DatasetError, NetworkError, UnchangedError
from monai_advenc.perturbation.batch_size import versions_per_pass
from monai_advenc.perturbation.batches import perturb_in_batches

UNCHANGED = (
    "the base network has no gradient there, or the change is too small for the file; leave the image out, train "
    "another base network, or give a larger radius"
)
"""Why encryption can leave an image unchanged, and what to do about it."""


def perturb_toward_targets(
    key: EncryptionKey,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    regions: Tensor | None = None,
    scales: Tensor | None = None,
    moves: Tensor | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """Perturb each image toward each target of its class, all versions in one stream of batches.

    Args:
        key: Correspondence and perturbation settings.
        network: The base network in evaluation mode (see :func:`monai_advenc.acceleration.prepare.prepare`).
        images: Originals ``(N, C, H, W)``, float32 in [0, 1].
        labels: True classes ``(N,)``, int64, in the order of ``key.classes``.
        regions: Binary masks ``(N, 1, H, W)`` of the pixels that may change.
        scales: ``(N,)``: the share of the key's radius that each image gets, see
            :func:`monai_advenc.encryption.regions.radius_scales`; ``None``: all of it, however small the region.
        moves: Random views of each version, drawn ahead (:class:`monai_advenc.encryption.draws.Draws`); ``None``: drawn
            here.
        batch_size: Versions per pass; another batch size can change the bytes of the result. ``None``: by the rule of
            :class:`monai_advenc.perturbation.batch_size.BatchSize` for the network's device and the images' shape.

    Returns:
        Versions ``(N, T, C, H, W)``, float32; T is the number of targets.

    Raises:
        DatasetError: There is not one label for each image, or the key has no class for a label.
        NetworkError: A prepared network has another number of classes than the key.
        SettingsError: Images, labels or regions are not on the network's device.
    """
    require_together(network, {"images": images, "labels": labels, "regions": regions})
    _check_labels(key, images, labels)
    # Other modules may have an outdated num_classes, from before their last layer was replaced.
    known = network.num_classes if isinstance(network, PreparedNetwork) else None
    if known not in (None, len(key.classes)):
        raise NetworkError(
            f"the network has {known} classes, the key {len(key.classes)}; give a base network for the key's classes"
        )
    targets = key.correspondence.targets_of(labels)
    count, num_targets = targets.shape
    moves = moves_of_versions(key, images) if moves is None else moves
    stream = images.repeat_interleave(num_targets, dim=0)
    versions = perturb_in_batches(
        network,
        stream,
        targets.flatten(),
        key.perturbation,
        batch_size=versions_per_pass(network, images.shape[1:]) if batch_size is None else batch_size,
        moves=None if moves is None else moves.flatten(0, 1),
        regions=None if regions is None else regions.repeat_interleave(num_targets, dim=0),
        scales=None if scales is None else scales.repeat_interleave(num_targets),
    )
    return versions.reshape(count, num_targets, *images.shape[1:])


def combine_versions(
    key: EncryptionKey,
    images: Tensor,
    versions: Tensor,
    labels: Tensor,
    *,
    scales: Tensor | None = None,
    levels: int | None = None,
    unit: Tensor | None = None,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """Combine the versions of each image, add the key's mark if it has one, and round the result to a file's grid.

    Args:
        key: Combiner, ratios, radius and mark.
        images: Originals ``(N, C, H, W)``.
        versions: Result of :func:`perturb_toward_targets` for these images.
        labels: True classes ``(N,)``.
        scales: As for :func:`perturb_toward_targets`.
        levels: Steps of the file's grid (PNG).
        unit: ``(N,)``: size of one stored unit on the [0, 1] scale, for originals on their file's own grid (DICOM,
            scaled NIfTI). Without ``levels`` and ``unit``: no rounding.
        seeds: Seeds of the combiner, drawn ahead (:class:`monai_advenc.encryption.draws.Draws`); ``None``: drawn here.

    Returns:
        Encrypted images ``(N, C, H, W)``, each within the key's radius of its original.

    Raises:
        DatasetError: The key has no class for a label.
        ImageError: The grid is too coarse for the radius.
        UnchangedError: An image did not change.
        SettingsError: Both ``levels`` and ``unit`` are given, or versions or labels are not on the images' device.
    """
    require_beside("the images", images, {"versions": versions, "labels": labels})
    _check_labels(key, images, labels)
    settings = key.perturbation.at_size(*images.shape[-2:])
    seeds = key.image_seeds("layout", images) if seeds is None else seeds
    radius = settings.radius if scales is None else settings.radius * to_device(scales, images.device)
    combined = combine(key.combiner, images, versions, labels, radius=radius, norm=settings.norm, seeds=seeds)
    if key.mark is not None:
        marks = [key.mark_seed(content_of(image)) for image in images]
        combined = add_marks(combined, images, versions, marks, key.mark, radius, settings.norm)
    encrypted = round_to_grid(combined, images, levels=levels, unit=unit, radius=radius, norm=settings.norm)
    # Versions are checked too, because rounding alone does not encrypt.
    as_before = _are_equal(versions, images[:, None]) | _are_equal(encrypted, images)
    if as_before.any():
        raise UnchangedError(f"{int(as_before.sum())} of {len(images)} images came out unchanged: {UNCHANGED}")
    return encrypted


def encrypt_batch(
    key: EncryptionKey,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    regions: Tensor | None = None,
    scales: Tensor | None = None,
    levels: int | None = None,
    unit: Tensor | None = None,
    draws: Draws | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """Encrypt images (section 4.1): map originals to the pixels of the encrypted files.

    An image's result does not depend on the other images of the batch.

    Args:
        key: The encryption key.
        network: The base network in evaluation mode (see :func:`monai_advenc.acceleration.prepare.prepare`).
        images: Originals ``(N, C, H, W)``, float32 in [0, 1].
        labels: True classes ``(N,)``, int64, in the order of ``key.classes``.
        regions: Binary masks ``(N, 1, H, W)`` of the pixels that may change; other pixels are only rounded to the
            file's grid.
        scales: ``(N,)``: the share of the key's radius that each image gets; ``None``: all of it.
        levels: Steps of the output file's grid (255 for 8-bit PNG).
        unit: ``(N,)``: size of one stored unit on the [0, 1] scale, for originals on their file's own grid (12 and
            16-bit DICOM, NIfTI with a slope). Pixels then change by whole units, and unchanged pixels keep every bit.
            Without ``levels`` and ``unit`` the result is float32.
        draws: Random choices for these images, made ahead; ``None``: made here.
        batch_size: Versions per pass; another batch size can change the bytes of the result. ``None``: by the rule of
            :class:`monai_advenc.perturbation.batch_size.BatchSize` for the network's device and the images' shape.

    Returns:
        Encrypted images ``(N, C, H, W)``, float32 in [0, 1], each within the key's radius of its original.

    Raises:
        DatasetError: The key has no class for a label.
        ImageError: Images hold NaN or values outside [0, 1], or the grid is too coarse for the radius.
        UnchangedError: An image did not change.
        NetworkError: The network is in training mode or does not fit the key.
        SettingsError: Both ``levels`` and ``unit`` are given, or images, labels or regions are not on the network's
            device.

    Example:
        >>> from monai_advenc import EncryptionKey, encrypt_batch, prepare
        >>> key, images = EncryptionKey.load("key.json"), torch.rand(4, 1, 32, 32)
        >>> fast = prepare(network, image_shape=(1, 32, 32))
        >>> encrypt_batch(key, fast, images, labels=torch.tensor([0, 1, 2, 0]), levels=65535).shape
        torch.Size([4, 1, 32, 32])
    """
    moves, seeds = (None, None) if draws is None else (draws.moves, draws.layout)
    versions = perturb_toward_targets(
        key, network, images, labels, regions=regions, scales=scales, moves=moves, batch_size=batch_size
    )
    return combine_versions(key, images, versions, labels, scales=scales, levels=levels, unit=unit, seeds=seeds)


def _are_equal(changed: Tensor, images: Tensor) -> Tensor:
    """Compare row by row: whether all values are equal, ``(N,)``."""
    return (changed == images).flatten(1).all(dim=1)


def _check_labels(key: EncryptionKey, images: Tensor, labels: Tensor) -> None:
    if labels.shape != images.shape[:1]:
        raise DatasetError(f"expected a label for each of {len(images)} images, got {tuple(labels.shape)}")
    if len(labels) and (labels.min() < 0 or labels.max() >= len(key.classes)):
        raise DatasetError(f"expected labels 0 to {len(key.classes) - 1}, got {labels.min()} to {labels.max()}")
