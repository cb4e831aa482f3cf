# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write the sealed residual of a data set: what restores the originals' pixels from the encrypted files."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final

from torch import nn

from monai_advenc.data.images.folder import ImageFile, ImageFolder
from monai_advenc.data.images.written_file import intact_file
from monai_advenc.data.manifest import MANIFEST_NAME, Manifest, VolumeManifest
from monai_advenc.data.private_folder import make_private, own_name
from monai_advenc.data.records import FileRecord, ImageRecord, VolumeRecord
from monai_advenc.data.stored_pixels import Stored, stored_pixels
from monai_advenc.data.volumes.case import Case
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import OutputError, VerificationError
from monai_advenc.files.atomic import TEMPORARY_SUFFIX, sha256_of, write_json
from monai_advenc.progress import Progress
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.options import EncryptionOptions, VolumeOptions
from monai_advenc.sharing.unlock.residual import residual_of
from monai_advenc.sharing.unlock.seal import public_keys_of, recipients_of, seal
from monai_advenc.sharing.volumes import VolumeEncryption

RESIDUAL_NAME: Final = "residual.age"
"""File in the private folder; in one of several data sets each has its own name."""

FORMAT: Final = "monai-advenc residual 2"

LENGTH: Final = 8
"""Bytes of the length of an entry, after the digest of its encrypted file."""

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
        records = Manifest.load(out).images
        keep_residual(
            ImageEncryption(source, out, key, network, options), records, private, options.unlock_for, progress
        )


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
        records = VolumeManifest.load(out).volumes
        encryption = VolumeEncryption(cases, out, key, network, options)
        keep_residual(encryption, records, private, options.unlock_for, progress)


def keep_residual(
    encryption: ImageEncryption | VolumeEncryption,
    records: Sequence[ImageRecord] | Sequence[VolumeRecord],
    private: Path,
    unlock_for: Sequence[str],
    progress: Progress,
) -> Path:
    """Write the residual of a finished data set, sealed; one that is there already for the same files stays.

    Args:
        encryption: What was encrypted.
        records: What its manifest says of each image or volume.
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
    wanted = {"manifest": sha256_of(encryption.out / MANIFEST_NAME), "unlock_for": sorted(public_keys_of(unlock_for))}
    if target.exists() and _noted(note) == {**wanted, "sha256": sha256_of(target)}:
        return target
    part = private / f".{target.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    try:
        # Without a name, so that a killed run leaves nothing that is not sealed.
        with TemporaryFile(dir=private) as pack:
            with progress.stage("keeping the residual", len(records)) as advance:
                _pack(encryption, records, pack, advance)
            pack.seek(0)
            part.touch(mode=0o600)
            seal(pack, part, recipients)
        part.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}; free disk space") from None
    finally:
        part.unlink(missing_ok=True)
    write_json(note, {**wanted, "sha256": sha256_of(target)}, overwrite=True, mode=0o600)
    size = target.stat().st_size / 1e6
    progress.say(f"Kept what restores the originals' pixels in {target} ({size:.1f} MB), sealed; never share it.")
    return target


def _noted(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _pack(
    encryption: ImageEncryption | VolumeEncryption,
    records: Sequence[ImageRecord] | Sequence[VolumeRecord],
    pack: BinaryIO,
    advance: Callable[[int], None],
) -> None:
    """Write a line that says what this is, then an entry for each file, which begins with the file's digest.

    So an entry stays of use when images are added to the data set or withdrawn.
    """
    originals = {each.id: each for each in encryption.originals}
    pack.write(json.dumps({"format": FORMAT}).encode() + b"\n")
    for record in records:
        for file, original in _files_of(encryption, originals[record.id], record):
            content = intact_file(encryption.out, file).read_bytes()
            pixels = stored_pixels(original, file.path)
            residual = residual_of(pixels, stored_pixels(content, file.path))
            pack.write(bytes.fromhex(file.sha256) + len(residual).to_bytes(LENGTH, "little"))
            pack.write(checksum_of(pixels) + residual)
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
