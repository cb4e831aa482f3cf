# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypt images block by block: read, perturb, combine, round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from monai_advenc.acceleration.hardware import Hardware
from monai_advenc.acceleration.kept_networks import PreparedNetworks
from monai_advenc.acceleration.prepare import PreparedNetwork
from monai_advenc.acceleration.processor import device_of, to_device
from monai_advenc.data.dicom.identity.rule import IdentityRule, require_identity_choice
from monai_advenc.data.dicom.slice import read_dicom_slice
from monai_advenc.data.images.folder import ImageFile, ImageFolder
from monai_advenc.data.images.reading import is_dicom_image, read_image, read_region, resize_image, to_gray
from monai_advenc.data.images.writing import SLICE_FORMATS
from monai_advenc.data.records import ImageRecord
from monai_advenc.encryption.draws import Draws
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.fidelity import SMALLEST_SIDE
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.radius import radius_share
from monai_advenc.encryption.regions import REGIONS
from monai_advenc.encryption.rounding import coarsest_levels
from monai_advenc.errors import AdvencError, DeviceMemoryError, ImageError
from monai_advenc.sharing import shared_masks
from monai_advenc.sharing.computing import Computing
from monai_advenc.sharing.dicom_output import DicomOutput
from monai_advenc.sharing.folder import Owns
from monai_advenc.sharing.image_writer import ImageWriter
from monai_advenc.sharing.options import EncryptionOptions, images_per_block, run_header, worker_count
from monai_advenc.sharing.original import Encrypted, Failure, Original, Outcome, common_pixels, units_of
from monai_advenc.workers import overlapped


class ImageEncryption:
    """Encrypts the images of a folder, and writes them.

    Attributes:
        originals: All images.
        header: What two runs into one folder must have in common.
        workers: Worker processes to use.
        writer: Writes the encrypted images.

    Args:
        source: The images; its classes are the key's.
        out: Folder to write into.
        key: The encryption key.
        network: The base network.
        options: Formats, size, region.
        computing: What computes, and how much at a time; ``None``: the network's device, see :class:`Computing`.
    """

    def __init__(
        self,
        source: ImageFolder,
        out: Path,
        key: EncryptionKey,
        network: nn.Module,
        options: EncryptionOptions,
        computing: Computing | None = None,
    ) -> None:
        self.source, self.out, self.key, self.network, self.options = source, out, key, network, options
        self.originals: Sequence[ImageFile] = source.files
        self.workers = worker_count(network, options)
        here = Hardware.of(device_of(network))
        self.compute_with(computing or Computing.of_run(options.batch_size, here, out))
        shared_masks.require_room_for_masks([file for file in source.files if self.has_masks(file)], source.files)

    def compute_with(self, computing: Computing) -> None:
        """Set what computes, and all that depends on it: header, tag of the run, prepared networks."""
        key, options = self.key, self.options
        self.computing = computing
        self.header = run_header(key, self.network, options, computing)
        self._prepared = PreparedNetworks(options.precision, key.perturbation.steps, computing.batch_size.of)
        dicom = None
        if "dicom" in options.formats:
            identity = IdentityRule(require_identity_choice(options.identity), key)
            dicom = DicomOutput(key, identity, self.header.run_tag)
        self.writer = ImageWriter(tuple(self.source.classes), self.out, key, options, dicom)

    def has_masks(self, file: ImageFile) -> bool:
        """Whether the mask of an image is written with it."""
        return self.writer.has_masks(file)

    def prepared(self, image_shape: tuple[int, ...]) -> PreparedNetwork:
        """The base network prepared for images ``(C, H, W)``."""
        return self._prepared.get(self.network, image_shape)

    def shapes(self) -> Iterator[tuple[int, int, int]]:
        """Shapes ``(C, H, W)`` of the images that can be read."""
        read = map(self._read_or_fail, self.originals)
        return ((*each.image.shape,) for each in read if isinstance(each, Original))

    def blocks_of(self, files: Sequence[ImageFile], workers: int) -> list[Sequence[ImageFile]]:
        """Divide images into blocks for a number of workers."""
        size = self.block_size(files, workers)
        return [files[start : start + size] for start in range(0, len(files), size)]

    def block_size(self, files: Sequence[ImageFile], workers: int) -> int:
        """Number of images in a block, so that every one of the workers gets some."""
        adaptive = self.key.perturbation.schedule == "adaptive"
        shape = None
        if files and (adaptive or self.computing.batch_size.fixed is None):
            first = self._read_or_fail(files[0])
            shape = first.image.shape if isinstance(first, Original) else None
        batch_size = self.computing.batch_size.of(shape)
        filling = images_per_block(self.key, batch_size, None)
        if not adaptive or not files:
            return filling
        fair_share = -(-len(files) // max(1, workers))
        return max(filling, min(fair_share, images_per_block(self.key, batch_size, shape)))

    def ownership(self) -> Owns:
        """A function that returns whether some image of the source is written to a path in the output folder."""
        labels = {file.id: self.source.classes[file.label] for file in self.source.files}
        suffixes = [*(SLICE_FORMATS[name] for name in self.options.formats), *shared_masks.MASK_SUFFIXES]

        def owns(path: str) -> bool:
            label, _, name = path.partition("/")
            return any(name.endswith(each) and labels.get(name[: -len(each)]) == label for each in suffixes)

        return owns

    def encrypt(self, block: Sequence[ImageFile]) -> list[Outcome]:
        """Encrypt and write the images of one block."""
        return self.writer.write_block(self.perturb_block(self.read_block(block)))

    def overlapped(
        self,
        blocks: Sequence[Sequence[ImageFile]],
        write: Callable[[list[Encrypted | Failure]], list[Outcome]] | None = None,
    ) -> Iterator[list[Outcome]]:
        """Encrypt all blocks in order; reads and writes the files of some while others are perturbed.

        Args:
            blocks: The images.
            write: Writes a block elsewhere; ``None``: in threads of this process.
        """
        return overlapped(blocks, self.read_block, self.perturb_block, write or self.writer.write_block)

    def read_block(self, block: Sequence[ImageFile]) -> list[Original | Failure]:
        """Read the images of one block, and draw what their steps need."""
        read = map(self._read_or_fail, block)
        return [
            replace(each, draws=Draws.of(self.key, each.image[None])) if isinstance(each, Original) else each
            for each in read
        ]

    def _read_or_fail(self, file: ImageFile) -> Original | Failure:
        try:
            return self.read(file)
        except AdvencError as error:
            return Failure(file.id, str(error))

    def perturb_block(self, block: Sequence[Original | Failure]) -> list[Encrypted | Failure]:
        """Encrypt the images that were read; those of one shape with a region, or without, together."""
        done: dict[str, Encrypted | Failure] = {each.id: each for each in block if isinstance(each, Failure)}
        alike: dict[tuple[object, ...], list[Original]] = {}
        for each in block:
            if isinstance(each, Original):
                kind = tuple(each.image.shape), each.region is None, each.scale is None
                alike.setdefault(kind, []).append(each)
        for group in alike.values():
            done |= {each.id: each for each in self._encrypt(group)}
        return [done[each.id] for each in block]

    def read(self, file: ImageFile) -> Original:
        """Read an image and the region that may change."""
        dicom = read_dicom_slice(file.path) if is_dicom_image(file.path) else None
        image = read_image(file.path) if dicom is None else dicom.stored.image()
        image = to_gray(image) if self.options.gray else image
        mask = read_region(file.mask_path, file.path) if file.mask_path and self.options.region == "mask" else None
        real = None if file.padding is None else file.padding.real_pixels(image, file.path)
        if self.options.size is not None:
            image = resize_image(image, self.options.size)
            # Pixels that a tumor or a real pixel has a part in.
            mask, real = (
                None if pixels is None else resize_image(pixels.float(), self.options.size) > 0
                for pixels in (mask, real)
            )
        if min(image.shape[-2:]) < SMALLEST_SIDE:
            raise ImageError(
                f"{file.path} has {image.shape[-1]}x{image.shape[-2]} pixels; expected {SMALLEST_SIDE} or more a side"
            )
        chosen = REGIONS[self.options.region](image, mask)
        region = common_pixels(chosen, real)
        if self.writer.dicom is not None:
            region = common_pixels(region, self.writer.dicom.region_of(file.path, dicom))
        affine = self.writer.affine_of(file) if dicom is None or self.options.size is not None else dicom.affine
        if region is not None and not region.any():
            raise ImageError(f"{file.path} has no pixel of its region between the ends of its window; leave it out")
        # Where all may change, the window of DICOM costs no radius.
        share = real if chosen is None else region
        scale = radius_share(self.key.perturbation, image, share, full_radius=self.options.full_radius, free=region)
        return Original(file, image, region, affine, dicom if self.writer.dicom is not None else None, scale)

    def renewed(self, file: ImageFile, record: ImageRecord) -> ImageRecord | None:
        """The record of a written image with all distances; ``None`` if its original has changed or cannot be read."""
        try:
            return self.writer.renewed(self.read(file), record)
        except AdvencError:
            return None

    def _encrypt(self, group: Sequence[Original]) -> list[Encrypted | Failure]:
        regions = [each.region for each in group if each.region is not None]
        scales = [each.scale for each in group if each.scale is not None]
        draws = [each.draws for each in group if each.draws is not None]
        there = partial(to_device, device=next(self.network.parameters()).device)
        try:
            prepared = self.prepared(tuple(group[0].image.shape))
            encrypted = encrypt_batch(
                self.key,
                prepared,
                there(torch.stack([each.image for each in group])),
                there(torch.tensor([each.file.label for each in group])),
                regions=there(torch.stack(regions)) if regions else None,
                scales=torch.tensor(scales).double() if scales else None,
                levels=coarsest_levels(self.options.formats),
                unit=units_of(group),
                draws=Draws.joined(draws) if len(draws) == len(group) else None,
                batch_size=self.computing.batch_size.of(group[0].image.shape),
            )
        except DeviceMemoryError:  # Fewer images would be padded to as many.
            raise
        except AdvencError as error:
            if len(group) > 1:  # One image's defect must not cost its neighbors.
                half = len(group) // 2
                return [*self._encrypt(group[:half]), *self._encrypt(group[half:])]
            return [Failure(group[0].id, str(error))]
        originals = (replace(each, draws=None) for each in group)
        return [Encrypted(*row, prepared.precision) for row in zip(originals, encrypted.cpu(), strict=True)]
