# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Restore the originals' pixels of an encrypted data set with its sealed residual."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import secrets
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final

from monai_advenc.data.images.written_file import intact_file
from monai_advenc.data.manifest import Manifest, VolumeManifest, holds_volumes
from monai_advenc.data.private_folder import require_unshared
from monai_advenc.data.records import FileRecord
from monai_advenc.data.stored_pixels import stored_pixels, with_stored_pixels
from monai_advenc.errors import ImageError, OutputError, VerificationError
from monai_advenc.files.atomic import TEMPORARY_SUFFIX, write_atomically
from monai_advenc.files.folder_lock import FolderLock
from monai_advenc.progress import ConsoleProgress, Progress
from monai_advenc.sharing.folder import require_empty
from monai_advenc.sharing.unlock.keep import FORMAT, LENGTH, checksum_of
from monai_advenc.sharing.unlock.residual import most_bytes, restored
from monai_advenc.sharing.unlock.seal import unseal

DIGEST: Final = hashlib.sha256().digest_size


def unlock(
    encrypted: str | Path,
    residual: str | Path,
    unlock_key: str | Path,
    out: str | Path = "originals",
    *,
    passphrase: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Write the files of a data set with the pixels of its originals, each checked against its checksum.

    Pixels come back bit for bit. Names, headers and identities stay those of the encrypted files.

    Args:
        encrypted: The encrypted data set.
        residual: The sealed file that was kept when it was made.
        unlock_key: File with the secret key, of age or SSH.
        out: Folder to write, outside of every encrypted data set; must not exist, or be empty. It appears when all
            files are restored.
        passphrase: Of ``unlock_key``, if that is sealed itself.
        progress: Where to say how far it is; ``None``: on stderr.

    Returns:
        The number of files that were restored: those of which the residual has an entry.

    Raises:
        ImageError: The residual does not fit the files.
        KeyFileError: The key cannot be read, or is another one.
        OutputError: ``out`` holds something, would be shared or cannot be written, or the residual is damaged.
        SettingsError: ``pyrage`` is missing.
        VerificationError: The residual is of another data set, or a file is missing or has changed.
    """
    progress, folder, target = progress or ConsoleProgress(), Path(encrypted), Path(out)
    require_unshared(target, "--out")
    total = len(list(_files_of(folder)))  # Says what is wrong with the data set before any work.
    if target.exists():
        require_empty(target)
    staged = target.parent / f".{target.name[:50]}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        staged.mkdir(mode=0o700)
        # Without a name, so that a killed run leaves no residual that is not sealed.
        with (
            FolderLock(staged),
            TemporaryFile(dir=staged) as opened,
            progress.stage("unlocking", total) as advance,
        ):
            unseal(Path(residual), opened, Path(unlock_key), passphrase)
            opened.seek(0)
            count = 0
            for path, content in _restored(folder, opened, Path(residual)):
                write_atomically(staged / path, content, mode=0o600)
                count += 1
                advance(1)
            if not count:
                raise VerificationError(f"{residual} is not of {folder}: it has no entry of its files; give its own")
        if target.exists():
            target.rmdir()
        staged.rename(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}; choose another --out") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    progress.say(f"Restored the originals' pixels of {count} files into {target}.")
    if count < total:
        progress.say(
            f"Warning: {total - count} of {total} files have no entry in {residual}: they are not restored. If "
            "they were added later, give the residual that was kept then."
        )
    return count


def _restored(folder: Path, pack: BinaryIO, residual: Path) -> Iterator[tuple[str, bytes]]:
    """The path of each file of which the residual has an entry, and its content with the original's pixels."""
    _require_residual(pack.readline(), residual)
    # Two files may be equal; their entries are in the order of the manifest too.
    files: dict[str, deque[FileRecord]] = {}
    for file in _files_of(folder):
        files.setdefault(file.sha256, deque()).append(file)
    while digest := pack.read(DIGEST):
        length, checksum = int.from_bytes(pack.read(LENGTH), "little"), pack.read(DIGEST)
        alike = files.get(digest.hex())
        if not alike:
            pack.seek(length, os.SEEK_CUR)  # Its image was withdrawn.
            continue
        file = alike.popleft()
        content = intact_file(folder, file).read_bytes()
        encrypted = stored_pixels(content, file.path)
        if length > most_bytes(encrypted):
            raise ImageError(f"the entry of {file.path} is longer than any of its size; give an intact residual")
        pixels = restored(encrypted, pack.read(length))
        if checksum_of(pixels) != checksum:
            raise ImageError(f"{file.path} would not get its original's pixels; give an intact residual")
        yield file.path, with_stored_pixels(content, file.path, pixels)


def _require_residual(line: bytes, residual: Path) -> None:
    """Raise unless the first line says that this is a residual of this version."""
    try:
        form = json.loads(line)["format"]
    except (ValueError, KeyError, TypeError):
        raise OutputError(f"{residual} is no residual; give the file that --keep-residual wrote") from None
    if form != FORMAT:
        raise OutputError(f"{residual} was written by another version; use the one that wrote it")


def _remove_leftovers(target: Path) -> None:
    """Remove what a killed run of the same place left; that of a running one is locked."""
    for left in target.parent.glob(f".{glob.escape(target.name[:50])}.*{TEMPORARY_SUFFIX}"):
        if left.is_dir() and not left.is_symlink():
            with suppress(OutputError), FolderLock(left):
                shutil.rmtree(left, ignore_errors=True)


def _files_of(folder: Path) -> Iterator[FileRecord]:
    records = VolumeManifest.load(folder).volumes if holds_volumes(folder) else Manifest.load(folder).images
    for record in records:
        yield from record.files
