# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypt a folder of images, or whole volumes, into a folder to share; an interrupted run can be resumed.

Worker processes of one thread each encrypt images in small blocks; on a GPU one process encrypts them while threads
read ahead and other processes write; Ray workers may do it elsewhere. Volumes are encrypted one by one. Neither the
blocks nor the workers change a byte of the result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from torch import nn

from monai_advenc.data.images.folder import ImageFile, ImageFolder
from monai_advenc.data.images.reading import is_nifti_image
from monai_advenc.data.manifest import Manifest, RunHeader, VolumeManifest
from monai_advenc.data.volumes.case import Case
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError, AllFailedError, DatasetError, OutputError, remembering
from monai_advenc.sharing.computing import Computing, Elsewhere
from monai_advenc.sharing.folder import IMAGES, VOLUMES, EncryptedFolder, Kind, ManifestOf, Owns, Record
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.memory import fit_memory
from monai_advenc.sharing.options import EncryptionOptions, VolumeOptions
from monai_advenc.sharing.original import Failure, Outcome
from monai_advenc.sharing.result import EncryptionResult
from monai_advenc.sharing.volumes import VolumeEncryption, VolumeOutcome
from monai_advenc.sharing.writers import in_processes, writers_for
from monai_advenc.workers import map_in_workers, one_thread

Compute = Callable[[ImageEncryption, Sequence[ImageFile]], Generator[list[Outcome], None, None]]
"""Encrypts and writes images, and yields their outcomes in any order."""

Original = TypeVar("Original", ImageFile, Case)


class Encryption(Protocol[Original, Record]):
    """All images or all volumes of one run.

    Attributes:
        originals: All of them, encrypted or not.
        out: Folder to write into.
        header: What two runs into one folder must have in common.
        workers: Worker processes to use.
    """

    originals: Sequence[Original]
    out: Path
    header: RunHeader
    workers: int

    @property
    def options(self) -> EncryptionOptions | VolumeOptions:
        """How to encrypt."""

    def ownership(self) -> Owns:
        """A function that returns whether some original is written to a path in the output folder."""

    def has_masks(self, original: Original) -> bool:
        """Whether the mask of an original is written with it."""

    def renewed(self, original: Original, record: Record) -> Record | None:
        """The record with all distances; ``None`` if the original has changed, or can no longer be read."""


def encrypt_images(
    source: ImageFolder,
    out: Path,
    key: EncryptionKey,
    network: nn.Module,
    options: EncryptionOptions,
    *,
    compute: Compute | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> EncryptionResult[Manifest]:
    """Encrypt the images of a folder that are not encrypted yet.

    Args:
        source: The images; its classes must be the key's.
        out: Folder to write into; a killed run is resumed, finished images are kept.
        key: The encryption key.
        network: The base network.
        options: Formats, size, workers.
        compute: Encrypts the images; ``None``: :func:`compute_here`.
        progress: Called with the number of images done, first with that of earlier runs.

    Returns:
        The manifest that was written and the failures.

    Raises:
        DatasetError: Classes differ from the key's.
        OutputError: The folder belongs to another run, holds images that are gone or have changed since, or cannot be
            written.
        AdvencError: An image failed and ``keep_going`` is off; the others done so far stay.
    """
    if tuple(source.classes) != key.classes:
        raise DatasetError(
            f"the key is for classes {', '.join(key.classes)}, the images have {', '.join(source.classes)}; "
            "give the key of this data set or draw one with keygen"
        )
    there = Computing.of_run(options.batch_size, compute.hardware(), out) if isinstance(compute, Elsewhere) else None
    encryption = ImageEncryption(source, out, key, network, options, there)
    if compute is None:
        fit_memory(encryption)
    return _encrypt_missing(encryption, IMAGES, partial(compute or compute_here, encryption), progress)


def encrypt_volumes(
    cases: Sequence[Case],
    out: Path,
    key: EncryptionKey,
    network: nn.Module,
    options: VolumeOptions,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> EncryptionResult[VolumeManifest]:
    """Encrypt the volumes that are not encrypted yet: the chosen slices change, everything else stays.

    Args:
        cases: The volumes, their masks and classes, under their names in the output.
        out: Folder to write into; a killed run is resumed, finished volumes are kept.
        key: The encryption key.
        network: The base network.
        options: Slices, region, identity, workers.
        progress: Called with the number of volumes done, first with that of earlier runs.

    Returns:
        The manifest that was written and the failures.

    Raises:
        DatasetError: The volumes have a class that the key does not have.
        OutputError: The folder belongs to another run, holds volumes that are gone or have changed since, or cannot be
            written.
        AdvencError: A volume failed and ``keep_going`` is off; the others done so far stay.
    """
    require_classes({case.label for case in cases}, key)
    encryption = VolumeEncryption(cases, out, key, network, options)
    fit_memory(encryption)
    return _encrypt_missing(encryption, VOLUMES, partial(_compute_volumes, encryption), progress)


def require_classes(classes: Iterable[str], key: EncryptionKey) -> None:
    """Raise :class:`DatasetError` if volumes have a class that the key does not have."""
    unknown = sorted(set(classes) - set(key.classes))
    if unknown:
        raise DatasetError(
            f"the key is for classes {', '.join(key.classes)}, the volumes have {', '.join(unknown)}; "
            "give the key of this data set"
        )


def _encrypt_missing(
    encryption: Encryption[Original, Record],
    kind: Kind[Record, ManifestOf],
    compute: Callable[[Sequence[Original]], Generator[Sequence[Record | Failure], None, None]],
    progress: Callable[[int], None],
) -> EncryptionResult[ManifestOf]:
    hides_area = encryption.options.region == "mask"
    with contextlib.closing(EncryptedFolder(encryption.out, encryption.header, kind, hides_area=hides_area)) as folder:
        missing = find_missing(folder, encryption)
        progress(len(encryption.originals) - len(missing))
        failures: list[Failure] = []
        with remembering(failures), contextlib.closing(compute(missing)) as done:
            for outcomes in done:
                folder.add(outcome for outcome in outcomes if not isinstance(outcome, Failure))
                failed = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
                for problem in failed:
                    if problem.fatal:
                        raise OutputError(problem.message)
                    if not encryption.options.keep_going:
                        raise AdvencError(f"{problem.id}: {problem.message}")
                failures += failed
                progress(len(outcomes))
        if failures and not folder.records:
            raise AllFailedError(
                f"no {kind.noun} was encrypted into {folder.folder}", [(each.id, each.message) for each in failures]
            )
        ids = (original.id for original in encryption.originals)
        with remembering(failures):
            return EncryptionResult(folder.finish(ids, encryption.ownership()), tuple(failures))


def compute_here(encryption: ImageEncryption, files: Sequence[ImageFile]) -> Generator[list[Outcome], None, None]:
    """Encrypt images on this machine: in worker processes on CPUs; on a GPU in this process, and others write them."""
    blocks = encryption.blocks_of(files, encryption.workers)
    writers = 0 if encryption.computing.hardware.device_type == "cpu" else writers_for(len(files))
    if encryption.workers:
        yield from map_in_workers(encryption.encrypt, blocks, encryption.workers)
    elif writers:
        with one_thread(), in_processes(encryption.writer.write_block, writers) as write:
            yield from encryption.overlapped(blocks, write)
    else:
        with one_thread():
            yield from encryption.overlapped(blocks)


def _compute_volumes(encryption: VolumeEncryption, cases: Sequence[Case]) -> Generator[list[VolumeOutcome], None, None]:
    for outcome in map_in_workers(encryption.encrypt, cases, encryption.workers):
        yield [outcome]


def find_missing(
    folder: EncryptedFolder[Record, ManifestOf], encryption: Encryption[Original, Record]
) -> Sequence[Original]:
    """Find the originals of an encryption that its output folder does not record as encrypted yet.

    Raises:
        OutputError: Originals of encrypted files are missing or have changed, or the folder holds other files.
    """
    _require_known(folder, {original.id for original in encryption.originals})
    # Masks are no part of the run's header: where they are wanted now, or no longer, the same files are made again.
    lacking = {each.id for each in encryption.originals if encryption.has_masks(each)}
    wanted = encryption.options.writes_masks
    folder.forget([name for name, each in folder.records.items() if (not wanted if each.masks else name in lacking)])
    folder.require_known_files(encryption.ownership())
    _renew(folder, encryption)
    return [original for original in encryption.originals if original.id not in folder.records]


def _require_known(folder: EncryptedFolder[Record, ManifestOf], known: set[str]) -> None:
    """Raise if the output holds images or volumes without an original: they may have been withdrawn."""
    strangers = sorted(set(folder.records) - known)
    if strangers:
        raise OutputError(
            f"{folder.folder} holds {len(strangers)} {folder.kind.noun}(s) that are not among the originals given, "
            f"such as {folder.records[strangers[0]].files[0].path}; delete the files of withdrawn originals, give all "
            "originals and the --identity of the earlier run, or choose another --out"
        )


def _renew(folder: EncryptedFolder[Record, ManifestOf], encryption: Encryption[Original, Record]) -> None:
    """Measure again what is not shared; raise if an original has other pixels, region or class than it had."""
    finished = [
        (original, folder.records[original.id]) for original in encryption.originals if original.id in folder.records
    ]
    renewed = map_in_workers(partial(_renewed, encryption), finished, encryption.workers)
    for (original, record), complete in zip(finished, renewed, strict=True):
        if complete is not None:
            folder.records[record.id] = complete
        else:
            written = folder.folder / record.files[0].path
            raise OutputError(
                f"the original {original.path} has changed since it was encrypted{_or_earlier(original)}; delete "
                f"{written} to encrypt it again, or choose another --out"
            )


def _renewed(encryption: Encryption[Original, Record], pair: tuple[Original, Record]) -> Record | None:
    return encryption.renewed(*pair)


def _or_earlier(original: ImageFile | Case) -> str:
    """What an earlier version did with such an original that this one does otherwise."""
    if isinstance(original, Case):
        return ", or an earlier version cut it in another plane"
    if original.padding is not None:
        return ", or an earlier version changed its padding too"
    return ", or an earlier version did not turn it upright" if is_nifti_image(original.path) else ""
