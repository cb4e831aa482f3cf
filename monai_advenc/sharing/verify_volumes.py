# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Check encrypted volumes: every file present and unchanged, every slice within the stated budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from monai_advenc.data.images.written_file import intact_file
from monai_advenc.data.manifest import VolumeManifest
from monai_advenc.data.records import FileRecord, VolumeRecord
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.stored_volume import StoredVolume, read_stored_volume
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError, VerificationError
from monai_advenc.sharing.folder import VOLUMES
from monai_advenc.sharing.verification import Check, Verification


def verify_volumes(
    folder: Path,
    *,
    originals: Sequence[Case] | None = None,
    base: nn.Module | None = None,
    key: EncryptionKey | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Verification[VolumeManifest]:
    """Check encrypted volumes file by file.

    Args:
        folder: The data set.
        originals: The cases it was made from, under the same names: the distances of encrypted slices are then
            measured, and the other slices compared to the last stored value.
        base: The base network, in evaluation mode: it classifies every encrypted slice as written.
        key: The key: with it the share of slices that the network takes for one of their targets is measured.
        progress: Called with 1 for each volume.

    Raises:
        NetworkError: The base network does not accept the slices.
        VerificationError: There is no readable manifest, or the key is another data set's.
    """
    sources = {case.id: case for case in originals} if originals is not None else None
    return _VolumeCheck(folder, VOLUMES, sources, base, key).run(progress)


class _VolumeCheck(Check[VolumeRecord, VolumeManifest, Case]):
    measured, command = "slices", "encrypt-volume"

    def messages(self, record: VolumeRecord) -> Iterable[str]:
        damaged = [problem for file in record.written for problem in _damage_to(self.folder, file)]
        if damaged:
            yield from damaged
            return
        yield from self.unlisted_class(record)
        for each in record.slices:
            yield from self.outside(each, f"slice {each.index} ")
        try:
            written = self._read(record)
            yield from self._against_the_original(written, record)
            # The window found in a written slice is its original's: the network sees what was encrypted.
            images = [written.slices[each.index].image() for each in record.slices]
        except AdvencError as error:
            yield str(error)
        else:
            self.ask(images, record.label)

    def _read(self, record: VolumeRecord) -> StoredVolume:
        place = self.folder / record.files[0].path
        written = place.parent if record.files[0].format == "dicom" else place
        volume = read_stored_volume(written, plane=record.plane, assumed=record.assumed_orientation)
        beyond = [each.index for each in record.slices if not 0 <= each.index < len(volume.slices)]
        if beyond:
            raise VerificationError(f"has {len(volume.slices)} slices, the manifest lists slice {beyond[0]}")
        return volume

    def _against_the_original(self, written: StoredVolume, record: VolumeRecord) -> Iterable[str]:
        if record.id in self.sources:
            case = self.sources[record.id]
            original = read_stored_volume(case.image, case.series_uid, record.plane, record.assumed_orientation)
            yield from self._compare(written, original, record)

    def _compare(self, written: StoredVolume, original: StoredVolume, record: VolumeRecord) -> Iterable[str]:
        if written.grid.voxels.shape != original.grid.voxels.shape:
            shapes = f"its original has the shape {original.grid.voxels.shape}, it has {written.grid.voxels.shape}"
            yield from self.unlike(record, [shapes])
            return
        encrypted = {each.index: each for each in record.slices}
        for index, (after, before) in enumerate(zip(written.slices, original.slices, strict=True)):
            same = np.array_equal(after.stored, before.stored)
            if index not in encrypted and not same:
                differs = f"slice {index} is not an encrypted slice, but differs from its original"
                yield from self.unlike(record, [differs])
            elif index in encrypted and same:
                yield f"slice {index} equals its original: it is not encrypted"
            elif index in encrypted:
                fidelity = measure_fidelity(before.on_same_window(after.stored)[None], before.image()[None])[0]
                distances: dict[str, Any] = fidelity.as_dict()
                measured = replace(encrypted[index], **distances)
                differing = self.against_the_manifest(measured, encrypted[index], f"slice {index} ")
                yield from self.unlike(record, differing)


def _damage_to(folder: Path, file: FileRecord) -> Iterable[str]:
    try:
        intact_file(folder, file)
    except VerificationError as error:
        yield str(error)
