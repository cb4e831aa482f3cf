# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The private folder next to an output folder, for files that must not be shared."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from monai_advenc.errors import DatasetError, OutputError
from monai_advenc.files.parts import holds_files


def private_folder_of(out: Path) -> Path:
    """The default private folder, next to the output folder: ``shared-private`` for ``shared``."""
    return out.absolute().parent / f"{out.absolute().name}-private"


def own_name(private: Path, out: Path, name: str) -> str:
    """A file's name of its own for each data set with this private folder; in the default one there is only one."""
    if private.resolve() == private_folder_of(out).resolve():
        return name
    start, dot, ending = name.rpartition(".")
    place = hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:8]
    return f"{start}-{out.resolve().name[:50]}-{place}{dot}{ending}"


def require_apart(out: Path, private: Path) -> None:
    """Raise :class:`DatasetError` if the private folder would be shared with the output."""
    if out.resolve() in (private.resolve(), *private.resolve().parents):
        raise DatasetError(f"the private folder {private} lies in the output {out}; choose another --private")


def require_outside(out: Path, originals: Path) -> None:
    """Raise :class:`DatasetError` if the output, which is to be shared, would lie among the originals."""
    if originals.resolve() in (out.resolve(), *out.resolve().parents):
        raise DatasetError(
            f"{out} lies in the folder of originals {originals}, which stays with you; choose another --out"
        )


def require_secrets_outside(out: Path, *secrets: Path | None) -> None:
    """Raise :class:`OutputError` if a key or a base network would be shared with the output.

    Args:
        out: The folder to be shared.
        secrets: Files that must not be; ``None`` where none was named.
    """
    for path in secrets:
        if path is not None and out.resolve() in path.resolve().parents:
            raise OutputError(
                f"{path} lies in {out}, which will be shared; move it to another folder and give its new path"
            )


def require_unshared(path: Path, option: str) -> None:
    """Raise :class:`OutputError` if what stays private would be written into an encrypted data set, finished or not.

    Args:
        path: Where it is to be written.
        option: What names the place, for the message.
    """
    from monai_advenc.data.manifest import JOURNAL_NAME, MANIFEST_NAME

    for folder in path.resolve().parents:
        if (folder / JOURNAL_NAME).is_file() or _is_manifest(folder / MANIFEST_NAME):
            raise OutputError(
                f"{path} lies in {folder}, an encrypted data set, which is shared; choose another {option}"
            )


def _is_manifest(path: Path) -> bool:
    """Whether a file is a manifest of this package: other programs have files of that name too."""
    try:
        with path.open("rb") as file:
            return b"monai-advenc" in file.read(4096)
    except OSError:
        return False


def make_private(folder: Path) -> None:
    """Create a folder that only its owner can enter; an existing folder keeps its permissions.

    Raises:
        OutputError: The folder cannot be created.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise OutputError(f"cannot create {folder}: {error.strerror}; choose another place") from None


def require_own_folder(out: Path, shared: Path | None, marker: str, what: str) -> None:
    """Raise unless a folder is new, empty or of this package, and lies outside the data set to be shared.

    This function does not create the folder; the caller makes it private first.

    Args:
        out: Where results are to go.
        shared: The encrypted data set; ``None``: there is none.
        marker: Name of the file that marks a folder of this package.
        what: What such a folder holds, for messages.

    Raises:
        OutputError: It is none of these.
    """
    if shared is not None and shared.resolve() in (out.resolve(), *out.resolve().parents):
        raise OutputError(f"{out} lies in the data set that is shared, which must not hold {what}; give another --out")
    if out.is_dir() and holds_files(out) and not (out / marker).is_file():
        raise OutputError(f"{out} is not empty and holds no {what}; give another --out")
