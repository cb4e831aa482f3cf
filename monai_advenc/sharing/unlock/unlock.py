# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Restore the originals' pixels of an encrypted data set with its sealed residual."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from monai_advenc.data.images.written_file import intact_file
from monai_advenc.data.records import FileRecord
from monai_advenc.data.stored_pixels import stored_pixels, with_stored_pixels
from monai_advenc.errors import ImageError, OutputError
from monai_advenc.files.atomic import TEMPORARY_SUFFIX, write_atomically
from monai_advenc.progress import ConsoleProgress, Progress
from monai_advenc.sharing.folder import require_empty
from monai_advenc.sharing.unlock.keep import FORMAT
from monai_advenc.sharing.unlock.residual import restored
from monai_advenc.sharing.unlock.seal import unseal


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
        out: Folder to write; must not exist, or be empty. It appears when all files are restored.
        passphrase: Of ``unlock_key``, if that is sealed itself.
        progress: Where to say how far it is; ``None``: on stderr.

    Returns:
        The number of files.

    Raises:
        ImageError: The residual is of another data set.
        KeyFileError: The key cannot be read, or is another one.
        OutputError: ``out`` holds something or cannot be written, or the residual is damaged.
        SettingsError: ``pyrage`` is missing.
        VerificationError: An encrypted file is missing or has changed.
    """
    progress, folder, target = progress or ConsoleProgress(), Path(encrypted), Path(out)
    if target.exists():
        require_empty(target)
    mark = f"{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    opened, staged = target.parent / f".unlocked.{mark}", target.parent / f".{target.name[:50]}.{mark}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        opened.touch(mode=0o600)
        unseal(Path(residual), opened, Path(unlock_key), passphrase)
        staged.mkdir(mode=0o700)
        with progress.stage("unlocking", None) as advance:
            count = 0
            for path, content in _restored(folder, opened, Path(residual)):
                write_atomically(staged / path, content, mode=0o600)
                count += 1
                advance(1)
        if target.exists():
            target.rmdir()
        staged.rename(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}; choose another --out") from None
    finally:
        opened.unlink(missing_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
    progress.say(f"Restored the originals' pixels of {count} files into {target}.")
    return count


def _restored(folder: Path, opened: Path, residual: Path) -> Iterator[tuple[str, bytes]]:
    """The path of each file and its content with the original's pixels."""
    try:
        with tarfile.open(opened, "r") as pack:
            entries = iter(pack)
            facts, _ = _entry(pack, next(entries))
            if facts.get("format") != FORMAT:
                raise OutputError(f"{residual} was written by a newer version; update monai-advenc")
            for entry in entries:
                facts, difference = _entry(pack, entry)
                record = FileRecord(path=facts["path"], format="", sha256=facts["encrypted"])
                content = intact_file(folder, record).read_bytes()
                pixels = restored(stored_pixels(content, record.path), difference)
                if hashlib.sha256(pixels.tobytes()).hexdigest() != facts["pixels"]:
                    raise ImageError(f"{record.path} would not get its original's pixels; restore the residual")
                yield record.path, with_stored_pixels(content, record.path, pixels)
    except (tarfile.TarError, ValueError, KeyError, StopIteration):
        raise OutputError(
            f"{residual} is no residual of a data set; give the file that --keep-residual wrote"
        ) from None


def _entry(pack: tarfile.TarFile, entry: tarfile.TarInfo) -> tuple[dict[str, str], bytes]:
    file = pack.extractfile(entry)
    line, _, rest = (b"" if file is None else file.read()).partition(b"\n")
    facts = json.loads(line)
    if not isinstance(facts, dict):
        raise ValueError("no facts")
    return facts, rest
