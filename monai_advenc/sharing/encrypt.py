# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypting a folder of images into a folder of images: read, perturb, combine, round, write, note.

Images are taken in small blocks: by worker processes of one thread each, by one process that has the GPU while threads
read ahead and write behind, or by workers elsewhere. Neither the blocks nor who computes them change a byte of the
result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from monai_advenc.data.images.folder import ImageFile, ImageFolder
from monai_advenc.data.manifest import Manifest
from monai_advenc.data.records import ImageRecord
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError, DatasetError, OutputError
from monai_advenc.sharing.folder import EncryptedFolder
from monai_advenc.sharing.images import EncryptionBlocks, Failure, Outcome
from monai_advenc.sharing.options import EncryptionOptions, run_header
from monai_advenc.workers import map_in_workers, one_thread

Compute = Callable[[EncryptionBlocks], Generator[list[Outcome], None, None]]
"""Computes all blocks, in any order."""


@dataclass(frozen=True)
class EncryptionResult:
    """What came of a run: the manifest, and the images that failed."""

    manifest: Manifest
    failures: tuple[Failure, ...]


def encrypt_folder(
    source: ImageFolder,
    out: Path,
    key: EncryptionKey,
    network: nn.Module,
    options: EncryptionOptions,
    *,
    compute: Compute | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> EncryptionResult:
    """Encrypt every image of a folder that is not encrypted yet.

    Args:
        source: The images; its classes must be the key's.
        out: Folder to write into; a run that was killed is resumed, finished images are kept.
        key: The encryption key.
        network: The base network.
        options: Formats, size, workers.
        compute: Who computes the blocks; ``None``: this machine, see :func:`compute_here`.
        progress: Called with the number of images done, earlier runs' first.

    Returns:
        The manifest that was written and the failures.

    Raises:
        DatasetError: Classes differ from the key's.
        OutputError: The folder belongs to another run, or cannot be written.
        AdvencError: An image failed and ``keep_going`` is off; the others done so far stay.
    """
    if tuple(source.classes) != key.classes:
        raise DatasetError(
            f"the key is for classes {', '.join(key.classes)}, the images have {', '.join(source.classes)}; "
            "give the key of this data set or draw one with keygen"
        )
    with contextlib.closing(EncryptedFolder(out, run_header(key, network, options))) as folder:
        return _encrypt_missing(folder, source, key, network, options, compute or compute_here, progress)


def _encrypt_missing(
    folder: EncryptedFolder,
    source: ImageFolder,
    key: EncryptionKey,
    network: nn.Module,
    options: EncryptionOptions,
    compute: Compute,
    progress: Callable[[int], None],
) -> EncryptionResult:
    everything = EncryptionBlocks(source.files, source, folder.folder, key, network, options)
    missing = find_missing(folder, everything, everything.workers)
    progress(len(source.files) - len(missing))
    failures: list[Failure] = []
    with contextlib.closing(compute(everything.of(missing))) as done:
        for outcomes in done:
            folder.add(outcome for outcome in outcomes if isinstance(outcome, ImageRecord))
            failed = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
            for problem in failed:
                if problem.fatal:
                    raise OutputError(problem.message)
                if not options.keep_going:
                    raise AdvencError(f"{problem.id}: {problem.message}")
            failures += failed
            progress(len(outcomes))
    ids = (file.id for file in source.files)
    return EncryptionResult(folder.finish(ids, everything.ownership()), tuple(failures))


def compute_here(blocks: EncryptionBlocks) -> Generator[list[Outcome], None, None]:
    """Compute blocks on this machine: by worker processes on the processor, by this process alone on a GPU."""
    if blocks.workers:
        yield from map_in_workers(blocks.__getitem__, range(len(blocks)), blocks.workers)
    else:
        with one_thread():
            yield from blocks.overlapped()


def find_missing(folder: EncryptedFolder, blocks: EncryptionBlocks, workers: int = 0) -> list[ImageFile]:
    """The originals that are not encrypted yet.

    Args:
        folder: What was encrypted so far.
        blocks: All originals, and how they are read.
        workers: Processes that read the originals of what was encrypted.

    Raises:
        OutputError: Images were encrypted whose originals are gone or have changed since, or other files lie there.
    """
    _require_known(folder, blocks.source)
    folder.require_known_files(blocks.ownership())
    _require_unchanged(folder, blocks, workers)
    return [file for file in blocks.files if file.id not in folder.records]


def _require_known(folder: EncryptedFolder, source: ImageFolder) -> None:
    """Raise if images lie in the output that are no longer among the originals: they may have been withdrawn."""
    strangers = sorted(set(folder.records) - {file.id for file in source.files})
    if strangers:
        record = folder.records[strangers[0]]
        raise OutputError(
            f"{folder.folder} holds {len(strangers)} image(s) that are not among the originals given, among them "
            f"{record.files[0].path}; delete the files of those to withdraw, or give all originals"
        )


def _require_unchanged(folder: EncryptedFolder, blocks: EncryptionBlocks, workers: int) -> None:
    """Raise if an original has other pixels, another region or another class than when it was encrypted."""
    finished = [file for file in blocks.files if file.id in folder.records]
    for file, tag in zip(finished, map_in_workers(blocks.current_tag, finished, workers), strict=True):
        record = folder.records[file.id]
        if (record.label, record.source_tag) != (blocks.source.classes[file.label], tag):
            written = folder.folder / record.files[0].path
            raise OutputError(
                f"the original {file.path} has changed since it was encrypted; delete {written} to encrypt it anew, "
                "or choose another --out"
            )
