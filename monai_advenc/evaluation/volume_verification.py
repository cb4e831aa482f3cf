# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading encrypted volumes back: is every file there, unchanged, and every slice within the stated budget?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_advenc.datasets.encrypted_folder import JOURNAL_NAME
from monai_advenc.datasets.volume_reading import read_stored_volume
from monai_advenc.errors import AdvencError
from monai_advenc.evaluation.verification import TOLERANCE, Problem
from monai_advenc.fidelity import measure_fidelity
from monai_advenc.files import LOCK_NAME, sha256_of
from monai_advenc.manifest import MANIFEST_NAME, Budget, FileRecord, SliceRecord, VolumeManifest, VolumeRecord
from monai_advenc.volumes.cases import Case
from monai_advenc.volumes.stored_slice import StoredSlice
from monai_advenc.volumes.stored_volume import StoredVolume


@dataclass(frozen=True)
class VolumeVerification:
    """The outcome.

    Attributes:
        manifest: What the data set says of itself.
        compared: Number of volumes that were compared with their originals.
        problems: Everything that does not hold; empty for an intact data set.
    """

    manifest: VolumeManifest
    compared: int
    problems: tuple[Problem, ...]


def verify_volumes(
    folder: Path,
    *,
    originals: Sequence[Case] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> VolumeVerification:
    """Check encrypted volumes file by file.

    Args:
        folder: The data set.
        originals: The cases it was made from, under the same names: every slice is then compared, the encrypted ones
            measured anew, the others to the last stored value.
        progress: Called with 1 for each volume.

    Raises:
        VerificationError: There is no readable manifest.
    """
    manifest = VolumeManifest.load(folder)
    sources = {case.id: case for case in originals or ()}
    problems: list[Problem] = []
    for record in manifest.volumes:
        problems += [Problem(record.id, each) for each in _check(folder, record, manifest.header.norm, sources)]
        progress(1)
    known = {file.path for record in manifest.volumes for file in record.files}
    present = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    own = {MANIFEST_NAME, JOURNAL_NAME, LOCK_NAME}
    problems += [Problem(path, "is not in the manifest") for path in present if path not in known | own]
    if originals is not None:
        strangers = [record.id for record in manifest.volumes if record.id not in sources]
        problems += [Problem(name, "has no original among those given") for name in strangers]
    if (folder / JOURNAL_NAME).exists():
        problems.append(Problem(JOURNAL_NAME, "a run is unfinished; run the same encrypt-volume command again"))
    if Budget.of(manifest.header.norm, [each for r in manifest.volumes for each in r.slices]) != manifest.budget:
        problems.append(Problem(MANIFEST_NAME, "the stated budget is not that of the slices listed"))
    compared = sum(record.id in sources for record in manifest.volumes)
    return VolumeVerification(manifest, compared, tuple(problems))


def _check(folder: Path, record: VolumeRecord, norm: str, sources: dict[str, Case]) -> Iterable[str]:
    damaged = [problem for file in record.files for problem in _check_file(folder, file)]
    if damaged:
        yield from damaged
        return
    for each in record.slices:
        distance = each.linf if norm == "linf" else each.l2
        if distance > each.radius * (1 + TOLERANCE):
            yield f"slice {each.index} is farther from its original ({distance:.4g}) than its radius {each.radius:.4g}"
    place = folder / record.files[0].path
    try:
        written = read_stored_volume(place.parent if record.files[0].format == "dicom" else place, plane=record.plane)
        if record.id in sources:
            case = sources[record.id]
            original = read_stored_volume(case.image, case.series_uid, record.plane)
            yield from _compare(written, original, record)
    except AdvencError as error:
        yield str(error)


def _check_file(folder: Path, file: FileRecord) -> Iterable[str]:
    path = folder / file.path
    if not path.resolve().is_relative_to(folder.resolve()):
        yield f"{file.path} points outside the data set"
    elif not path.is_file():
        yield f"{file.path} is missing"
    elif sha256_of(path) != file.sha256:
        yield f"{file.path} has changed since it was written (checksum)"


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
