# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Tables of the owner: sealed with the pixels, and written next to the restored files, so that commands read these."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from monai_advenc.data.images.folder import ImageFile
from monai_advenc.data.images.padding import PADDING_COLUMNS, SLICE_TABLE
from monai_advenc.data.images.written_file import intact_file
from monai_advenc.data.manifest_records import each_record
from monai_advenc.data.patients import PATIENT, PATIENT_TABLE, grouped
from monai_advenc.data.records import ImageRecord, VolumeRecord
from monai_advenc.data.volumes.case import Case
from monai_advenc.errors import DatasetError, OutputError, VerificationError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.files.names import comparable
from monai_advenc.files.tables import LABEL_TABLE, csv_text, read_table
from monai_advenc.sharing.unlock.pack import Entries, write_entry

_MODE: Final = 0o600

_LONGEST_ROW: Final = 2048
"""Bytes; names are at most as long as those of files."""

_COLUMNS: Final[Mapping[tuple[str, type], tuple[str, ...]]] = {
    (PATIENT_TABLE, ImageRecord): ("image", PATIENT),
    (PATIENT_TABLE, VolumeRecord): ("case", PATIENT),
    (SLICE_TABLE, ImageRecord): ("case", *PADDING_COLUMNS),
}
"""Columns of each table that is kept, by the kind of data set; the first has ids."""


def tables_of(originals: Sequence[ImageFile | Case]) -> dict[str, bytes]:
    """What is known of the patients and of the padding of images or volumes, as tables by their names.

    Args:
        originals: The originals, under their ids in the data set.
    """
    found: dict[str, bytes] = {}
    patient_of = {each.id: each.patient for each in originals}
    if any(patient_of.values()):
        kind = ImageRecord if isinstance(originals[0], ImageFile) else VolumeRecord
        rows = sorted(grouped(patient_of).items())
        found[PATIENT_TABLE] = csv_text(_COLUMNS[PATIENT_TABLE, kind], rows).encode()
    padded = [each for each in originals if isinstance(each, ImageFile) and each.padding is not None]
    if padded:
        sides = [(each.id, *each.padding.as_tuple()) for each in padded if each.padding is not None]
        found[SLICE_TABLE] = csv_text(_COLUMNS[SLICE_TABLE, ImageRecord], sides).encode()
    return found


def write_tables(pack: BinaryIO, tables: Mapping[str, bytes]) -> None:
    """Append an entry for each table to a residual, with the digest of its name instead of that of a file."""
    for name, content in tables.items():
        write_entry(pack, _digest_of(name), hashlib.sha256(content).digest(), content)


def complete(folder: Path, restored: Path, entries: Entries, residual: Path) -> int:
    """Put next to restored files what commands need to read them: tables, and the masks that were shared.

    ``labels.csv`` names the first file of each image where images have several, so that no image counts twice.

    Args:
        folder: The encrypted data set.
        restored: The restored files, under their paths in the data set.
        entries: Those of the residual.
        residual: The sealed file, for messages.

    Returns:
        Number of masks that are missing or have changed, and are left out.

    Raises:
        OutputError: A table in the residual cannot be read.
    """
    kind = next((type(record) for record in each_record(folder)), ImageRecord)
    left_out = sum(not _copied_mask(folder, restored, record) for record, _ in _restored_of(folder, restored))
    several = any(len(record.files) > 1 for record in each_record(folder))
    if kind is ImageRecord and several:
        rows = ((path, record.label) for record, path in _restored_of(folder, restored))
        write_atomically(restored / LABEL_TABLE, csv_text(("file", "label"), rows).encode(), mode=_MODE)
    for (name, of), columns in _COLUMNS.items():
        content = _content_of(entries, name, residual) if of is kind else None
        if content is not None:
            ids = {comparable(record.id) for record, _ in _restored_of(folder, restored)}
            # Anyone can seal a residual: only what is expected of a table is taken over.
            rows_there = _rows_of(content, restored / f".{name}", columns, residual)
            kept = [tuple(row.values()) for row in rows_there if comparable(row[columns[0]]) in ids]
            write_atomically(restored / name, csv_text(columns, kept).encode(), mode=_MODE)
    return left_out


def _restored_of(folder: Path, restored: Path) -> Iterator[tuple[ImageRecord | VolumeRecord, str]]:
    """Each record of which a file was restored, and the path of the first."""
    for record in each_record(folder):
        path = next((file.path for file in record.files if (restored / file.path).is_file()), None)
        if path is not None:
            yield record, path


def _copied_mask(folder: Path, restored: Path, record: ImageRecord | VolumeRecord) -> bool:
    with contextlib.suppress(VerificationError):
        for mask in record.masks:
            write_atomically(restored / mask.path, intact_file(folder, mask).read_bytes(), mode=_MODE)
        return True
    return False


def _content_of(entries: Entries, name: str, residual: Path) -> bytes | None:
    entry = entries.take(_digest_of(name))
    if entry is None:
        return None
    # A residual has an entry of each image that its tables name.
    content = entries.content(entry) if entry.length <= _LONGEST_ROW * entries.count else b""
    if hashlib.sha256(content).digest() != entry.checksum:
        raise _damaged(residual, name)
    return content


def _rows_of(content: bytes, scratch: Path, columns: tuple[str, ...], residual: Path) -> list[dict[str, str]]:
    try:
        scratch.write_bytes(content)
        return read_table(scratch, columns)
    except DatasetError:
        raise _damaged(residual, scratch.name.removeprefix(".")) from None
    finally:
        scratch.unlink(missing_ok=True)


def _damaged(residual: Path, name: str) -> OutputError:
    return OutputError(f"{residual} is damaged: {name} in it cannot be read; restore it from a backup")


def _digest_of(name: str) -> str:
    """What stands in an entry of a table in place of a file's digest."""
    return hashlib.sha256(f"monai-advenc table {name}".encode()).hexdigest()
