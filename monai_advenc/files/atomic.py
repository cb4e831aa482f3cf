# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write files atomically: a reader sees the old content, the new content, or nothing, but never half of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from monai_advenc.errors import OutputError
from monai_advenc.files.parts import TEMPORARY_SUFFIX, locked_part, remove_unless_written


def write_atomically(path: Path, data: bytes | Iterable[bytes], *, overwrite: bool = False, mode: int = 0o644) -> None:
    """Write ``data`` to a temporary file in the same folder, sync it to disk, and rename it.

    Args:
        path: The file to write. Missing parent folders are created.
        data: The whole content, at once or in parts.
        overwrite: Whether to replace an existing file, which otherwise is an error.
        mode: Permission bits of the new file.

    Raises:
        OutputError: The file exists (without ``overwrite``) or cannot be written: disk full, read-only, no permission.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked_part(path, mode) as (part, descriptor):
            with os.fdopen(descriptor, "wb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
            if overwrite:
                part.replace(path)
            else:
                _rename_to_free_name(part, path)
    except FileExistsError:
        raise OutputError(f"{path} exists already and is never overwritten; choose another name") from None
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; free disk space or choose another place") from None


def _rename_to_free_name(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # Unlike a rename, it fails if the name exists.
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        # Some file systems (FAT, some network shares) have no hard links: check, then rename.
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        part.rename(path)


def write_json(path: Path, content: Any, *, overwrite: bool = False, mode: int = 0o644) -> None:
    """Write ``content`` as readable JSON (UTF-8, two spaces, final newline); see :func:`write_atomically`."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode(), overwrite=overwrite, mode=mode)


def remove_temporaries(folder: Path) -> int:
    """Delete temporary files anywhere under ``folder`` that no run is writing; return their number."""
    leftovers = [path for path in folder.rglob(f".*{TEMPORARY_SUFFIX}") if path.is_symlink() or not path.is_dir()]
    return sum(map(remove_unless_written, leftovers))


def write_once(path: Path, content: Any, refusal: str) -> None:
    """Write JSON that describes a folder's purpose; an existing file must have the same content.

    Raises:
        OutputError: The content differs (the message is ``refusal`` and the names of what differs), or the file cannot
            be written.
    """
    if path.exists():
        try:
            there, here = json.loads(path.read_bytes()), json.loads(json.dumps(content))
        except (OSError, ValueError):
            raise OutputError(refusal) from None
        if there != here:
            raise OutputError(refusal + _differences(there, here))
    else:
        write_json(path, content)


def _differences(there: Any, here: Any) -> str:
    """Names of the entries that differ, to end a sentence with; never their values."""
    if not isinstance(there, dict) or not isinstance(here, dict):
        return ""
    names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    return f" (what differs: {', '.join(name.replace('_', ' ') for name in names)})" if names else ""


def is_writable(folder: Path) -> bool:
    """Whether files can be created in a folder, or the folder in its nearest existing parent."""
    nearest = next((place for place in (folder, *folder.absolute().parents) if place.exists()), folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
