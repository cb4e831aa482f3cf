# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write the sealed residual of a data set: what restores the originals' pixels from the encrypted files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final

from torch import nn

from monai_advenc.data.images.folder import ImageFile, ImageFolder
from monai_advenc.data.images.written_file import intact_file
from monai_advenc.data.manifest import MANIFEST_NAME
from monai_advenc.data.manifest_records import each_record
from monai_advenc.data.private_folder import make_private, own_name
from monai_advenc.data.records import FileRecord, ImageRecord, VolumeRecord
from monai_advenc.data.stored_pixels import Stored, stored_pixels
from monai_advenc.data.volumes.case import Case
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import OutputError, VerificationError
from monai_advenc.files.atomic import sha256_of, write_json
from monai_advenc.files.folder_lock import FolderLock
from monai_advenc.files.parts import locked_part, remove_stale_parts
from monai_advenc.progress import Progress
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.options import EncryptionOptions, VolumeOptions
from monai_advenc.sharing.unlock.pack import write_entry, write_start
from monai_advenc.sharing.unlock.residual import residual_of
from monai_advenc.sharing.unlock.seal import public_keys_of, recipients_of, seal
from monai_advenc.sharing.unlock.tables import tables_of, write_tables
from monai_advenc.sharing.volumes import VolumeEncryption

RESIDUAL_NAME: Final = "residual.age"
"""File in the private folder; in one of several data sets each has its own name."""

_SEALED_NAME: Final = "residual.json"
"""Says of which files the residual is, so that a finished one is not made again."""


def keep_residual_of_images(
    source: ImageFolder,
    out: Path,
    key: EncryptionKey,
    network: nn.Module,
    options: EncryptionOptions,
    private: Path,
    progress: Progress,
) -> None:
    """Write the residual of encrypted images, if ``options.unlock_for`` names public keys (:func:`keep_residual`)."""
    if options.unlock_for:
        keep_residual(ImageEncryption(source, out, key, network, options), private, options.unlock_for, progress)


def keep_residual_of_volumes(
    cases: Sequence[Case],
    out: Path,
    key: EncryptionKey,
    network: nn.Module,
    options: VolumeOptions,
    private: Path,
    progress: Progress,
) -> None:
    """The same of encrypted volumes."""
    if options.unlock_for:
        keep_residual(VolumeEncryption(cases, out, key, network, options), private, options.unlock_for, progress)


def keep_residual(
    encryption: ImageEncryption | VolumeEncryption,
    private: Path,
    unlock_for: Sequence[str],
    progress: Progress,
) -> Path:
    """Write the residual of a finished data set, sealed; one that is there already for the same files stays.

    Memory does not grow with the number of images.

    Args:
        encryption: What was encrypted, in the order of its manifest.
        private: The private folder.
        unlock_for: Public keys, see :func:`monai_advenc.sharing.unlock.seal.recipients_of`.
        progress: Receives progress.

    Returns:
        The sealed file.

    Raises:
        AdvencError: An original can no longer be read, or an encrypted file has changed.
        OutputError: The file cannot be written.
        SettingsError: A public key is none, or ``pyrage`` is missing.
    """
    recipients = recipients_of(unlock_for)
    make_private(private)
    target, note = (private / own_name(private, encryption.out, name) for name in (RESIDUAL_NAME, _SEALED_NAME))
    with FolderLock(encryption.out):
        remove_stale_parts(private, after_s=0)  # No other run is at work here: the data set is locked.
        tables = tables_of(encryption.originals)
        wanted = {
            "manifest": sha256_of(encryption.out / MANIFEST_NAME),
            "unlock_for": sorted(public_keys_of(unlock_for)),
            "tables": {name: hashlib.sha256(content).hexdigest() for name, content in tables.items()},
        }
        if not target.exists() or _noted(note) != {**wanted, "sha256": sha256_of(target)}:
            _write(encryption, tables, target, recipients, progress)
            write_json(note, {**wanted, "sha256": sha256_of(target)}, overwrite=True, mode=0o600)
            size = target.stat().st_size / 1e6
            progress.say(
                f"Kept what restores the originals' pixels in {target} ({size:.1f} MB), sealed; never share it."
            )
    return target


def _write(
    encryption: ImageEncryption | VolumeEncryption,
    tables: Mapping[str, bytes],
    target: Path,
    recipients: Sequence[Any],
    progress: Progress,
) -> None:
    """Pack and seal; the file appears when it is complete."""
    try:
        # Without a name, so that a killed run leaves nothing that is not sealed.
        with TemporaryFile(dir=target.parent) as pack:
            total = sum(1 for _ in each_record(encryption.out))
            with progress.stage("keeping the residual", total) as advance:
                _pack(encryption, pack, advance)
            write_tables(pack, tables)
            pack.seek(0)
            with locked_part(target, 0o600) as (part, descriptor):
                os.close(descriptor)
                seal(pack, part, recipients)
                with part.open("rb") as file:
                    os.fsync(file.fileno())
                part.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}; free disk space") from None


def _noted(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _pack(encryption: ImageEncryption | VolumeEncryption, pack: BinaryIO, advance: Callable[[int], None]) -> None:
    """Write an entry for each file."""
    write_start(pack)
    # The manifest has the originals in their order, without those that failed.
    originals: Iterator[ImageFile | Case] = iter(encryption.originals)
    for record in each_record(encryption.out):
        original = next((each for each in originals if each.id == record.id), None)
        if original is None:
            raise VerificationError(
                f"{encryption.out} holds {record.id}, which is not among the originals; run the same command again"
            )
        for file, whole in _files_of(encryption, original, record):
            content = intact_file(encryption.out, file).read_bytes()
            pixels = stored_pixels(whole, file.path)
            residual = residual_of(pixels, stored_pixels(content, file.path))
            write_entry(pack, file.sha256, checksum_of(pixels), residual)
        advance(1)


def checksum_of(pixels: Stored) -> bytes:
    """SHA-256 of stored pixels."""
    return hashlib.sha256(pixels.tobytes()).digest()


def _files_of(
    encryption: ImageEncryption | VolumeEncryption, original: ImageFile | Case, record: ImageRecord | VolumeRecord
) -> Iterator[tuple[FileRecord, bytes]]:
    """Each file of an image or volume, and the same file as it would be if nothing had been changed.

    Raises:
        VerificationError: The original is no longer the one that was encrypted.
    """
    if isinstance(encryption, ImageEncryption):
        assert isinstance(original, ImageFile)
        read = encryption.read(original)
        contents, tag = encryption.writer.encode(read, read.image), encryption.writer.tag_of(read)
    else:
        assert isinstance(original, Case)
        stored = encryption.read(original)
        contents = [content for _, content in stored.volume.encode({}, encryption.derivation(original, "residual"))]
        tag = encryption.tag_of(stored)
    if tag != record.source_tag:
        raise VerificationError(
            f"{original.path} has changed since it was encrypted, so its residual would restore something else; put "
            "the original back, or encrypt again"
        )
    yield from zip(record.files, contents, strict=True)
