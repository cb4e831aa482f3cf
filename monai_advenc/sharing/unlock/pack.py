# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What a residual holds once it is opened: a line that says what it is, then an entry for each file.

An entry is the digest of the encrypted file, the length of its content, a checksum and the content. So a residual stays
useful when images are added to the data set or withdrawn. Anyone with the public key can seal any content, so the
reader trusts nothing in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from monai_advenc.errors import OutputError

FORMAT: Final = "monai-advenc residual 2"

_DIGEST: Final = hashlib.sha256().digest_size
_LENGTH: Final = 8
_LONGEST_LINE: Final = 200


@dataclass(frozen=True)
class Entry:
    """Where an entry lies.

    Attributes:
        checksum: SHA-256 of the original's stored pixels.
        place: First byte of its content in the opened residual.
        length: Number of bytes; never more than there are.
    """

    checksum: bytes
    place: int
    length: int


def write_start(pack: BinaryIO) -> None:
    """Write the line that says what this is."""
    pack.write(json.dumps({"format": FORMAT}).encode() + b"\n")


def write_entry(pack: BinaryIO, sha256: str, checksum: bytes, content: bytes) -> None:
    """Append an entry.

    Args:
        pack: What is written.
        sha256: Digest of the encrypted file, in hexadecimal digits.
        checksum: SHA-256 of the original's stored pixels.
        content: What turns the one into the other.
    """
    pack.write(bytes.fromhex(sha256) + len(content).to_bytes(_LENGTH, "little") + checksum + content)


class Entries:
    """Find entries of an opened residual by the digests of encrypted files.

    The table of their places is a file, so that memory does not grow with their number.

    Args:
        pack: The opened residual.
        residual: The sealed file, for messages.
        scratch: Where to put the table: a new file.

    Attributes:
        count: How many there are, also those that were taken.

    Raises:
        OutputError: It is no residual of this version, or an entry goes beyond its end.
    """

    def __init__(self, pack: BinaryIO, residual: Path, scratch: Path) -> None:
        self._pack, self._residual = pack, residual
        self._table = sqlite3.connect(scratch, isolation_level=None)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.close)
            self._fill()
            on_failure.pop_all()

    def _fill(self) -> None:
        # A table that a kill or a power cut damages is never read again.
        for pragma in ("journal_mode = off", "synchronous = off", "locking_mode = exclusive"):
            self._table.execute(f"pragma {pragma}")
        self._table.execute("create table entry (number integer primary key, digest blob, place integer)")
        self._table.execute("begin")
        self._table.executemany("insert into entry (digest, place) values (?, ?)", self._places())
        self._table.execute("create index by_digest on entry (digest)")
        self._table.execute("commit")
        self.count: int = self._table.execute("select count(*) from entry").fetchone()[0]

    def take(self, sha256: str) -> Entry | None:
        """The first entry of a file that was not taken yet: of equal files each has one, in the manifest's order.

        Args:
            sha256: Digest of the encrypted file, in hexadecimal digits.
        """
        query = "select number, place from entry where digest = ? order by number limit 1"
        found = self._table.execute(query, (bytes.fromhex(sha256),)).fetchone()
        if found is None:
            return None
        self._table.execute("delete from entry where number = ?", found[:1])
        self._pack.seek(found[1] - _LENGTH - _DIGEST)
        length = int.from_bytes(self._pack.read(_LENGTH), "little")
        return Entry(self._pack.read(_DIGEST), found[1], length)

    def content(self, entry: Entry) -> bytes:
        """Read the content of an entry."""
        self._pack.seek(entry.place)
        return self._pack.read(entry.length)

    def close(self) -> None:
        """Close the table."""
        self._table.close()

    def _places(self) -> Iterator[tuple[bytes, int]]:
        """The digest and the place of each entry, all of which lie inside."""
        size = self._pack.seek(0, os.SEEK_END)
        self._pack.seek(0)
        _require_residual(self._pack.readline(_LONGEST_LINE), self._residual)
        place = self._pack.tell()
        while place < size:
            self._pack.seek(place)
            digest, length = self._pack.read(_DIGEST), int.from_bytes(self._pack.read(_LENGTH), "little")
            start = place + _DIGEST + _LENGTH + _DIGEST
            place = start + length
            if place > size:
                raise OutputError(
                    f"{self._residual} is damaged: an entry goes beyond its end; restore it from a backup"
                )
            yield digest, start


def _require_residual(line: bytes, residual: Path) -> None:
    """Raise unless the first line says that this is a residual of this version."""
    try:
        form = json.loads(line)["format"]
    except (ValueError, KeyError, TypeError):
        raise OutputError(f"{residual} is no residual; give the file that --keep-residual wrote") from None
    if form != FORMAT:
        raise OutputError(f"{residual} was written by another version; use the one that wrote it")
