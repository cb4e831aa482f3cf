# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypt volumes one by one: read, encrypt slice by slice, write whole, measure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from monai_advenc.acceleration.hardware import Hardware
from monai_advenc.acceleration.kept_networks import PreparedNetworks
from monai_advenc.acceleration.prepare import PreparedNetwork
from monai_advenc.acceleration.processor import device_of
from monai_advenc.data.dicom.identity.rule import IdentityRule
from monai_advenc.data.dicom.provenance import Derivation
from monai_advenc.data.images.writing import DICOM_SUFFIX
from monai_advenc.data.records import FileRecord, SliceRecord, VolumeRecord
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.shared_mask import MASK_ENDING, encode_mask_of
from monai_advenc.data.volumes.stored_volume import StoredCase, is_dicom, read_stored_case, read_stored_volume
from monai_advenc.encryption.encrypt_batch import UNCHANGED, encrypt_batch
from monai_advenc.encryption.fidelity import SMALLEST_SIDE
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.radius import radius_share
from monai_advenc.encryption.regions import REGIONS
from monai_advenc.errors import AdvencError, DatasetError, DeviceMemoryError, ImageError, OutputError, UnchangedError
from monai_advenc.files.atomic import sha256_of, write_atomically
from monai_advenc.perturbation.geometry import GEOMETRIES
from monai_advenc.sharing.computing import Computing
from monai_advenc.sharing.folder import Owns
from monai_advenc.sharing.options import VolumeOptions, images_per_block, run_header, worker_count
from monai_advenc.sharing.original import Failure
from monai_advenc.sharing.shared_masks import EncodedMask, are_recorded, write_masks
from monai_advenc.sharing.slice_to_encrypt import SliceToEncrypt

VolumeOutcome = VolumeRecord | Failure


class VolumeEncryption:
    """Encrypts cases one by one, and writes them.

    Args:
        cases: All cases, under their names in the output.
        out: Folder to write into.
        key: The encryption key.
        network: The base network.
        options: Which slices, which pixels, what happens to identities.
    """

    def __init__(
        self, cases: Sequence[Case], out: Path, key: EncryptionKey, network: nn.Module, options: VolumeOptions
    ) -> None:
        self.originals, self.out, self.key, self.network, self.options = cases, out, key, network, options
        self.workers = worker_count(network, options)
        self.compute_with(Computing.of_run(options.batch_size, Hardware.of(device_of(network)), out))

    def compute_with(self, computing: Computing) -> None:
        """Set what computes, and all that depends on it: header, prepared networks."""
        steps = self.key.perturbation.steps
        self.computing = computing
        self.header = run_header(self.key, self.network, self.options, computing)
        self._prepared = PreparedNetworks(self.options.precision, steps, computing.batch_size.of)

    def has_masks(self, case: Case) -> bool:
        """Whether the mask of a case is written with it."""
        return self.options.writes_masks and case.mask is not None

    def prepared(self, image_shape: tuple[int, ...]) -> PreparedNetwork:
        """The base network prepared for slices ``(1, H, W)``."""
        return self._prepared.get(self.network, image_shape)

    def shapes(self) -> Iterator[tuple[int, int, int]]:
        """Shapes ``(1, H, W)`` of one slice of each case that can be read."""
        for case in self.originals:
            with suppress(AdvencError):
                height, width = self.read(case).volume.slices[0].stored.shape
                yield 1, height, width

    def ownership(self) -> Owns:
        """A function that returns whether some case is written to a path in the output folder."""
        places = {f"{case.label}/{case.id}" for case in self.originals}

        def owns(path: str) -> bool:
            name = path.removesuffix(".gz").removesuffix(".nii")
            return bool({name, name.removesuffix(MASK_ENDING), path.rpartition("/")[0]} & places)

        return owns

    def encrypt(self, case: Case) -> VolumeOutcome:
        """Encrypt and write one case."""
        try:
            return self._encrypt(case, self.read(case))
        except (OutputError, DeviceMemoryError) as error:
            return Failure(case.id, str(error), fatal=True)
        except AdvencError as error:
            return Failure(case.id, str(error))

    def read(self, case: Case) -> StoredCase:
        """Read a case; without its mask if the mask decides nothing."""
        needs_mask = self.options.slices == "tumor" or self.options.region == "mask"
        if case.problem is not None and (needs_mask or self.options.writes_masks):
            raise DatasetError(case.problem)
        case = case if needs_mask else replace(case, mask=None)
        return read_stored_case(case, self.options.plane, self.options.tumor)

    def tag_of(self, stored: StoredCase) -> str:
        """Keyed checksum of a case: of its files, headers included, of its tumor, and of the plane chosen for it."""
        digest = hashlib.sha256(b"" if stored.tumor is None else np.packbits(stored.tumor).tobytes())
        for path in stored.volume.sources:
            digest.update(sha256_of(path).encode())
        if stored.volume.series is None and self.options.plane == "acquired" and stored.volume.plane != "axial":
            # Version 0.1 took axial slices of NIfTI by default; its volumes must not be continued in another plane.
            digest.update(stored.volume.plane.encode())
        return self.key.tag("source", digest.digest())[:16]

    def renewed(self, case: Case, record: VolumeRecord) -> VolumeRecord | None:
        """The record of a written case with all distances; ``None`` if the case has changed or cannot be read."""
        try:
            stored = self.read(case)
            if (record.label, record.source_tag) != (case.label, self.tag_of(stored)):
                return None
            if not are_recorded(self._masks_of(case, stored, record.files, record.source_tag), record.masks):
                return None
            prepared = [self._prepare(stored, each.index) for each in record.slices]
            measured = self._measure(case, stored, [each for each in prepared if each is not None], record.files)
        except AdvencError:
            return None
        slices = (own.with_measured(found) for own, found in zip(record.slices, measured, strict=True))
        return replace(record, slices=tuple(slices))

    def _encrypt(self, case: Case, stored: StoredCase) -> VolumeRecord:
        chosen = stored.slices_to_encrypt(self.options.slices, str(case.image))
        prepared = [each for each in (self._prepare(stored, k) for k in chosen) if each is not None]
        if not prepared:
            raise ImageError(f"no slice of {case.image} can be encrypted; leave out the case")
        changes: dict[int, NDArray[np.generic]] = {}
        shape = prepared[0].image.shape
        together = images_per_block(self.key, self.computing.batch_size.of(shape), shape)
        for start in range(0, len(prepared), together):
            changes |= self._encrypt_block(case, prepared[start : start + together])
        if not changes:
            raise UnchangedError(f"no slice of {case.image} was changed: {UNCHANGED}")
        tag = self.tag_of(stored)
        files = self._write(case, stored, changes, tag)
        try:
            slices = self._measure(case, stored, [each for each in prepared if each.index in changes], files)
            masks = write_masks(self.out, self._masks_of(case, stored, files, tag))
        except AdvencError:
            # Files that do not read back must not be shared.
            for file in files:
                (self.out / file.path).unlink(missing_ok=True)
            raise
        return VolumeRecord(
            id=case.id,
            label=case.label,
            files=files,
            plane=stored.volume.plane,
            assumed_orientation=stored.volume.grid.assumed,
            slices=slices,
            left_alone=len(stored.volume.slices) - len(changes),
            source_tag=tag,
            precision=self.prepared(tuple(prepared[0].image.shape)).precision,
            masks=masks,
        )

    def _prepare(self, stored: StoredCase, index: int) -> SliceToEncrypt | None:
        """Prepare a slice; ``None`` for an empty one, unless slices with tumor were requested."""
        each = stored.volume.slices[index]
        try:
            if min(each.stored.shape) < SMALLEST_SIDE:
                raise ImageError(f"{each.source} is smaller than {SMALLEST_SIDE} pixels; leave out the case")
            image, region = each.image(), each.free()
            mask = None if stored.tumor is None else torch.from_numpy(stored.tumor[index])[None]
            wanted = REGIONS[self.options.region](image, mask)
            region = region if wanted is None else region & wanted
            settings = self.key.perturbation.at_size(*image.shape[-2:])
            scale = radius_share(self.key.perturbation, image, region, full_radius=not self.options.scales_radius)
            radius = settings.radius * (1.0 if scale is None else scale)
            if not region.any() or (each.unit or 0) > radius:
                raise ImageError(f"{each.source} has no pixel that could change within the radius; leave out the case")
        except AdvencError:
            if self.options.slices == "tumor":
                raise
            return None
        return SliceToEncrypt(index, each, image, mask, region, radius, scale)

    def _encrypt_block(self, case: Case, block: Sequence[SliceToEncrypt]) -> dict[int, NDArray[np.generic]]:
        device = next(self.network.parameters()).device
        images = torch.stack([each.image for each in block]).to(device)
        units = [each.stored.unit for each in block]
        scales = [each.scale for each in block if each.scale is not None]
        try:
            encrypted = encrypt_batch(
                self.key,
                self.prepared(tuple(images.shape[1:])),
                images,
                torch.full((len(block),), self.key.classes.index(case.label), device=device),
                regions=torch.stack([each.region for each in block]).to(device),
                scales=torch.tensor(scales).double() if scales else None,
                unit=torch.tensor(units, dtype=torch.float64) if None not in units else None,
                batch_size=self.computing.batch_size.of(images.shape[1:]),
            ).cpu()
        except UnchangedError:
            if len(block) > 1:
                half = len(block) // 2
                return self._encrypt_block(case, block[:half]) | self._encrypt_block(case, block[half:])
            if self.options.slices == "tumor":
                raise
            return {}  # A slice without a gradient stays as it is.
        length = GEOMETRIES[self.key.perturbation.norm].length
        return {
            each.index: each.stored.changed(pixels, each.radius, length)
            for each, pixels in zip(block, encrypted, strict=True)
        }

    def _write(
        self, case: Case, stored: StoredCase, changes: dict[int, NDArray[np.generic]], tag: str
    ) -> tuple[FileRecord, ...]:
        written = []
        for ending, content in stored.volume.encode(changes, self.derivation(case, tag)):
            path = f"{case.label}/{case.id}{ending}"
            # A killed run may have written this file without recording it.
            write_atomically(self.out / path, content, overwrite=True)
            kind = "dicom" if is_dicom(case) else "nifti"
            written.append(FileRecord(path=path, format=kind, sha256=hashlib.sha256(content).hexdigest()))
        if is_dicom(case):
            # An earlier run may have encrypted a longer series of this case.
            folder = (self.out / written[0].path).parent
            for stale in set(folder.glob(f"*{DICOM_SUFFIX}")) - {self.out / file.path for file in written}:
                stale.unlink()
        return tuple(written)

    def derivation(self, case: Case, tag: str) -> Derivation:
        """How the DICOM objects of a case are derived."""
        identity = IdentityRule(self.options.identity, self.key)
        # Two cases may be two tumors of one series: both are series of their own.
        return Derivation.perturbation(identity, self.header.run_tag, f"{case.label} {tag}")

    def _masks_of(self, case: Case, stored: StoredCase, files: Sequence[FileRecord], tag: str) -> list[EncodedMask]:
        """The mask of a case, if it is written with the volume."""
        if case.mask is None or not self.has_masks(case):
            return []
        paths = [self.out / file.path for file in files]
        assumed = self.options.tumor.assume_orientation
        ending, content = encode_mask_of(case.mask, stored.volume, paths, self.derivation(case, tag), assumed)
        return [(f"{case.label}/{case.id}{ending}", "dicom" if ending.endswith(DICOM_SUFFIX) else "nifti", content)]

    def _measure(
        self, case: Case, stored: StoredCase, encrypted: Sequence[SliceToEncrypt], files: Sequence[FileRecord]
    ) -> tuple[SliceRecord, ...]:
        """Measure the encrypted slices, as written, against their originals."""
        place = self.out / files[0].path
        written = place.parent if is_dicom(case) else place
        grid = stored.volume.grid
        read_back = read_stored_volume(written, plane=stored.volume.plane, assumed=grid.assumed)
        return tuple(each.measured(read_back.slices[each.index]) for each in encrypted)
