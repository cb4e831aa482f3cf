# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading encrypted volumes back: is every file there, unchanged, and every slice within the stated budget?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from monai_advenc.data.images.written_file import intact_file
from monai_advenc.data.manifest import JOURNAL_NAME, MANIFEST_NAME, Budget, RunHeader, VolumeManifest
from monai_advenc.data.records import FileRecord, SliceRecord, VolumeRecord
from monai_advenc.data.stored_slice import StoredSlice
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.stored_volume import StoredVolume
from monai_advenc.data.volumes.volume_reading import read_stored_volume
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError, VerificationError
from monai_advenc.evaluation.effect import Effect, ImageEffect, effect_on, require_own_key
from monai_advenc.files.folder_lock import LOCK_NAME
from monai_advenc.sharing.verify_images import TOLERANCE, Problem


@dataclass(frozen=True)
class VolumeVerification:
    """The outcome.

    Attributes:
        manifest: What the data set says of itself.
        compared: Number of volumes that were compared with their originals.
        problems: Everything that does not hold; empty for an intact data set.
        effects: What the base network makes of the encrypted slices of each class, by class name; empty without one.
    """

    manifest: VolumeManifest
    compared: int
    problems: tuple[Problem, ...]
    effects: dict[str, Effect]


def verify_volumes(
    folder: Path,
    *,
    originals: Sequence[Case] | None = None,
    base: nn.Module | None = None,
    key: EncryptionKey | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> VolumeVerification:
    """Check encrypted volumes file by file.

    Args:
        folder: The data set.
        originals: The cases it was made from, under the same names: every slice is then compared, the encrypted ones
            measured anew, the others to the last stored value.
        base: The base network, in evaluation mode: it is asked about every encrypted slice as written.
        key: The key: with it, the share of slices that the network takes for one of their targets is told.
        progress: Called with 1 for each volume.

    Raises:
        NetworkError: The base network does not take the slices.
        VerificationError: There is no readable manifest, or the key is not of this data set.
    """
    manifest = VolumeManifest.load(folder)
    if key is not None:
        require_own_key(key, manifest.header.key_id)
    check = _Check(folder, manifest.header, {case.id: case for case in originals or ()}, base, key)
    for record in manifest.volumes:
        check.volume(record)
        progress(1)
    problems = check.problems
    known = {file.path for record in manifest.volumes for file in record.files}
    present = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    own = {MANIFEST_NAME, JOURNAL_NAME, LOCK_NAME}
    problems += [Problem(path, "is not in the manifest") for path in present if path not in known | own]
    if originals is not None:
        strangers = [record.id for record in manifest.volumes if record.id not in check.sources]
        problems += [Problem(name, "has no original among those given") for name in strangers]
    if (folder / JOURNAL_NAME).exists():
        problems.append(Problem(JOURNAL_NAME, "a run is unfinished; run the same encrypt-volume command again"))
    if Budget.of(manifest.header.norm, [each for r in manifest.volumes for each in r.slices]) != manifest.budget:
        problems.append(Problem(MANIFEST_NAME, "the stated budget is not that of the slices listed"))
    compared = sum(record.id in check.sources for record in manifest.volumes)
    summaries = {name: Effect.of(found) for name, found in check.effects.items()}
    return VolumeVerification(manifest, compared, tuple(problems), summaries)


class _Check:
    """What is found while volumes are checked one by one."""

    def __init__(
        self,
        folder: Path,
        header: RunHeader,
        sources: dict[str, Case],
        base: nn.Module | None,
        key: EncryptionKey | None,
    ) -> None:
        self.folder, self.header, self.sources, self.base, self.key = folder, header, sources, base, key
        self.problems: list[Problem] = []
        self.effects: dict[str, list[ImageEffect]] = {}

    def volume(self, record: VolumeRecord) -> None:
        """Check one volume."""
        messages = [problem for file in record.files for problem in _check_file(self.folder, file)]
        if not messages:
            messages += self._against_the_manifest(record)
            try:
                written = self._read(record)
                messages += self._against_the_original(written, record)
                # The window found in a written slice is its original's: the network sees what was encrypted.
                images = [written.slices[each.index].image() for each in record.slices]
            except AdvencError as error:
                messages.append(str(error))
            else:
                self._ask(images, record.label)
        self.problems += [Problem(record.id, message) for message in messages]

    def _against_the_manifest(self, record: VolumeRecord) -> Iterable[str]:
        if record.label not in self.header.classes:
            yield f"has a class {record.label!r} that the manifest does not list"
        for each in record.slices:
            distance = each.linf if self.header.norm == "linf" else each.l2
            place = f"slice {each.index}"
            if distance == 0:
                yield f"{place} is its original: nothing was changed"
            if not distance <= each.radius * (1 + TOLERANCE):
                yield f"{place} is farther from its original ({distance:.4g}) than its radius {each.radius:.4g}"

    def _read(self, record: VolumeRecord) -> StoredVolume:
        place = self.folder / record.files[0].path
        volume = read_stored_volume(place.parent if record.files[0].format == "dicom" else place, plane=record.plane)
        beyond = [each.index for each in record.slices if not 0 <= each.index < len(volume.slices)]
        if beyond:
            raise VerificationError(f"has {len(volume.slices)} slices, the manifest lists slice {beyond[0]}")
        return volume

    def _against_the_original(self, written: StoredVolume, record: VolumeRecord) -> Iterable[str]:
        if record.id in self.sources:
            case = self.sources[record.id]
            yield from _compare(written, read_stored_volume(case.image, case.series_uid, record.plane), record)

    def _ask(self, images: Sequence[Tensor], name: str) -> None:
        if self.base is not None and name in self.header.classes and images:
            label = self.header.classes.index(name)
            seen = [effect_on(self.base, image, label, self.key) for image in images]
            self.effects.setdefault(name, []).extend(seen)


def _check_file(folder: Path, file: FileRecord) -> Iterable[str]:
    try:
        intact_file(folder, file)
    except VerificationError as error:
        yield str(error)


def _compare(written: StoredVolume, original: StoredVolume, record: VolumeRecord) -> Iterable[str]:
    if written.grid.voxels.shape != original.grid.voxels.shape:
        yield f"its original has the shape {original.grid.voxels.shape}, it has {written.grid.voxels.shape}"
        return
    encrypted = {each.index: each for each in record.slices}
    for index, (after, before) in enumerate(zip(written.slices, original.slices, strict=True)):
        same = np.array_equal(after.stored, before.stored)
        if index not in encrypted and not same:
            yield f"slice {index} is not to be encrypted, and differs from its original"
        elif index in encrypted and same:
            yield f"slice {index} equals its original: it is not encrypted"
        elif index in encrypted:
            yield from _measure(after, before, encrypted[index])


def _measure(after: StoredSlice, before: StoredSlice, stated: SliceRecord) -> Iterable[str]:
    measured = measure_fidelity(before.on_same_window(after.stored)[None], before.image()[None])[0]
    if abs(measured.l2 - stated.l2) > TOLERANCE * max(stated.l2, stated.radius):
        yield f"slice {stated.index} is {measured.l2:.6g} from its original, the manifest says {stated.l2:.6g}"
