# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypting volumes into a folder of volumes: every slice that was asked for changes, everything else stays.

Volumes are taken by worker processes of one thread each; their number does not change a byte of the result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from monai_advenc.data.manifest import VolumeManifest
from monai_advenc.data.volumes.case import Case
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError, DatasetError, OutputError
from monai_advenc.sharing.folder import EncryptedVolumeFolder
from monai_advenc.sharing.images import Failure
from monai_advenc.sharing.volume_options import VolumeOptions, volume_run_header
from monai_advenc.sharing.volumes import VolumeEncryption
from monai_advenc.workers import map_in_workers


@dataclass(frozen=True)
class VolumeResult:
    """What came of a run: the manifest, and the volumes that failed."""

    manifest: VolumeManifest
    failures: tuple[Failure, ...]


def encrypt_volumes(
    cases: Sequence[Case],
    out: Path,
    key: EncryptionKey,
    network: nn.Module,
    options: VolumeOptions,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> VolumeResult:
    """Encrypt every volume that is not encrypted yet.

    Args:
        cases: The volumes, their masks and classes, under the names that they are to have in the output.
        out: Folder to write into; a run that was killed is resumed, finished volumes are kept.
        key: The encryption key.
        network: The base network.
        options: Slices, region, identity, workers.
        progress: Called with the number of volumes done, earlier runs' first.

    Returns:
        The manifest that was written and the failures.

    Raises:
        DatasetError: A class that the key has not.
        OutputError: The folder belongs to another run, holds volumes that are gone or have changed since, or cannot be
            written.
        AdvencError: A volume failed and ``keep_going`` is off; the others done so far stay.
    """
    unknown = sorted({case.label for case in cases} - set(key.classes))
    if unknown:
        raise DatasetError(
            f"the key is for classes {', '.join(key.classes)}, the volumes have {', '.join(unknown)}; "
            "give the key of this data set"
        )
    header = volume_run_header(key, network, options)
    with contextlib.closing(EncryptedVolumeFolder(out, header)) as folder:
        on_gpu = any(parameter.is_cuda for parameter in network.parameters())
        workers = 0 if on_gpu else options.workers

        places = {f"{case.label}/{case.id}" for case in cases}

        def owns(path: str) -> bool:
            return path.removesuffix(".gz").removesuffix(".nii") in places or path.rpartition("/")[0] in places

        encryption = VolumeEncryption(folder.folder, key, network, options, header.run_tag)
        _require_known(folder, cases)
        folder.require_known_files(owns)
        _require_unchanged(folder, encryption, cases, workers)
        missing = [case for case in cases if case.id not in folder.records]
        progress(len(cases) - len(missing))
        failures: list[Failure] = []
        for outcome in map_in_workers(encryption.encrypt, missing, workers):
            if isinstance(outcome, Failure):
                failures.append(outcome)
                if outcome.fatal:
                    raise OutputError(outcome.message)
                if not options.keep_going:
                    raise AdvencError(f"{outcome.id}: {outcome.message}")
            else:
                folder.add([outcome])
            progress(1)
        return VolumeResult(folder.finish((case.id for case in cases), owns), tuple(failures))


def _require_known(folder: EncryptedVolumeFolder, cases: Sequence[Case]) -> None:
    """Raise if volumes lie in the output that are no longer among the originals: they may have been withdrawn."""
    strangers = sorted(set(folder.records) - {case.id for case in cases})
    if strangers:
        raise OutputError(
            f"{folder.folder} holds {len(strangers)} volume(s) that are not among those given, among them "
            f"{strangers[0]}; delete the files of those to withdraw, or give all originals"
        )


def _require_unchanged(
    folder: EncryptedVolumeFolder, encryption: VolumeEncryption, cases: Sequence[Case], workers: int
) -> None:
    """Raise if an original has other values, another tumor or another class than when it was encrypted."""
    finished = [case for case in cases if case.id in folder.records]
    for case, tag in zip(finished, map_in_workers(encryption.current_tag, finished, workers), strict=True):
        record = folder.records[case.id]
        if (record.label, record.source_tag) != (case.label, tag):
            raise OutputError(
                f"the original {case.image} has changed since it was encrypted; delete "
                f"{folder.folder / record.files[0].path} to encrypt it anew, or choose another --out"
            )
