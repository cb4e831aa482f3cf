# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Restore the originals' pixels of an encrypted data set with its sealed residual."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

from monai_advenc.data.images.written_file import intact_file
from monai_advenc.data.manifest_records import each_file
from monai_advenc.data.private_folder import require_unshared
from monai_advenc.data.stored_pixels import stored_pixels, with_stored_pixels
from monai_advenc.errors import ImageError, OutputError, VerificationError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.progress import ConsoleProgress, Progress
from monai_advenc.sharing.unlock.keep import checksum_of
from monai_advenc.sharing.unlock.pack import Entries
from monai_advenc.sharing.unlock.places import locked_place, remove_left_by_killed_runs
from monai_advenc.sharing.unlock.residual import most_bytes, restored
from monai_advenc.sharing.unlock.seal import unseal
from monai_advenc.sharing.unlock.tables import complete


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

    Pixels come back bit for bit. Names, headers and identities stay those of the encrypted files. Commands that take
    originals take the folder as it is: ``patients.csv`` and ``slices.csv`` say what was known of the images,
    ``labels.csv`` names one file of each image where there are several, and shared masks are copied. Memory for pixels
    does not grow with the number of images.

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
        OutputError: ``out`` holds something, is a link or a mount point, would be shared or cannot be written, another
            run writes it, or the residual is damaged.
        SettingsError: ``pyrage`` is missing.
        VerificationError: The residual is of another data set, or a file is missing or has changed.

    Example:
        >>> from monai_advenc import EncryptionOptions, encrypt_folder, unlock
        >>> from monai_advenc.sharing.unlock.seal import draw_unlock_key
        >>> options = EncryptionOptions(unlock_for=(draw_unlock_key(Path("unlock.key")),))
        >>> shared = encrypt_folder("slices", "shared-sealed", key="key.json", base="base.pt", options=options)
        >>> unlock("shared-sealed", "shared-sealed-private/residual.age", "unlock.key")
        200
    """
    progress, folder, target = progress or ConsoleProgress(), Path(encrypted), Path(out)
    require_unshared(target, "--out")
    # All files appear by one rename, which neither can be the aim of.
    if target.is_symlink() or target.is_mount():
        what = "a link" if target.is_symlink() else "where another file system begins"
        raise OutputError(f"--out {target} is {what}, expected a new or an empty folder; give a new one in it")
    total = sum(1 for _ in each_file(folder))  # Says what is wrong with the data set before any work.
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_left_by_killed_runs(target.parent, Path(residual).parent, progress)
        with locked_place(target, Path(residual).parent, progress) as place:
            if target.exists() and any(target.iterdir()):
                raise OutputError(f"{target} is not empty; give a new or an empty folder for --out")
            staged, count = place / "files", 0
            staged.mkdir(mode=stat.S_IRWXU)
            # Without a name, so that a killed run leaves no residual that is not sealed.
            with TemporaryFile(dir=place) as opened, progress.stage("unlocking", total) as advance:
                unseal(Path(residual), opened, Path(unlock_key), passphrase)
                with contextlib.closing(Entries(opened, Path(residual), place / "entries")) as entries:
                    for path, content in _restored(folder, entries):
                        write_atomically(staged / path, content, mode=0o600)
                        count += 1
                        advance(1)
                    if not count:
                        raise VerificationError(
                            f"{residual} is not of {folder}: it has no entry of its files; give its own"
                        )
                    masks_left_out = complete(folder, staged, entries, Path(residual))
            if target.exists():
                target.rmdir()
            staged.rename(target)
    except (OSError, sqlite3.Error) as error:
        problem = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {target}: {problem}; choose another --out") from None
    progress.say(f"Restored the originals' pixels of {count} files into {target}.")
    if count < total:
        progress.say(
            f"Warning: {total - count} of {total} files have no entry in {residual}: they are not restored. If "
            "they were added later, give the residual that was kept then."
        )
    if masks_left_out:
        progress.say(f"Warning: {masks_left_out} masks of {folder} are missing or have changed, and are left out.")
    return count


def _restored(folder: Path, entries: Entries) -> Iterator[tuple[str, bytes]]:
    """The path of each file of which the residual has an entry, and its content with the original's pixels."""
    for file in each_file(folder):
        entry = entries.take(file.sha256)
        if entry is None:
            continue
        content = intact_file(folder, file).read_bytes()
        encrypted = stored_pixels(content, file.path)
        if entry.length > most_bytes(encrypted):
            raise ImageError(f"the entry of {file.path} is longer than any of its size; give an intact residual")
        pixels = restored(encrypted, entries.content(entry))
        if checksum_of(pixels) != entry.checksum:
            raise ImageError(f"{file.path} would not get its original's pixels; give an intact residual")
        yield file.path, with_stored_pixels(content, file.path, pixels)
