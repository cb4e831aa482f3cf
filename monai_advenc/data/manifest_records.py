# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read the records of a manifest one at a time, in memory that does not grow with their number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydantic_core import from_json

from monai_advenc.data.manifest import MANIFEST_NAME, Manifest, VolumeManifest, holds_volumes
from monai_advenc.data.records import FileRecord, ImageRecord, VolumeRecord
from monai_advenc.errors import SettingsError, VerificationError

# Lines as this package writes them: before all records, around each, and behind all.
_OPENINGS: Final = (b'  "images": [\n', b'  "volumes": [\n')
_BEGIN, _END, _END_WITH_MORE = b"    {\n", b"    }\n", b"    },\n"
_CLOSING: Final = b"  ]\n}\n"


def each_record(folder: Path) -> Iterator[ImageRecord | VolumeRecord]:
    """Yield the records of a data set's images or volumes, in the manifest's order.

    A manifest that is laid out otherwise than this package writes it is read as a whole.

    Args:
        folder: The encrypted data set.

    Raises:
        VerificationError: There is no manifest, or it is damaged; perhaps only after records in front of the damage.
    """
    path = folder / MANIFEST_NAME
    try:
        file = path.open("rb")
    except OSError:
        yield from _read_whole(folder)
        return
    with file:
        kind = _kind_of_laid_out(file)
        if kind is None:
            yield from _read_whole(folder)
            return
        try:
            for text in _each_text(file):
                yield kind.from_json(text.decode())
        except (OSError, ValueError, SettingsError):
            _read_whole(folder)  # Refuses it too, and says what is wrong.
            raise VerificationError(f"{path} changed while it was read; run the command again") from None


def each_file(folder: Path) -> Iterator[FileRecord]:
    """Yield the files of all images or volumes, without masks, as :func:`each_record` does."""
    for record in each_record(folder):
        yield from record.files


def frame_of(path: Path) -> Any:
    """The content of a manifest, perhaps without records: what stands around them.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no JSON.
    """
    with path.open("rb") as file, suppress(ValueError, RecursionError):
        content = json.loads(_frame(file) + _CLOSING)
        _require_json(file)
        return content
    return json.loads(path.read_bytes())


def _read_whole(folder: Path) -> tuple[ImageRecord, ...] | tuple[VolumeRecord, ...]:
    return VolumeManifest.load(folder).volumes if holds_volumes(folder) else Manifest.load(folder).images


def _kind_of_laid_out(file: BinaryIO) -> type[ImageRecord] | type[VolumeRecord] | None:
    """What the records are; the file is then in front of them. ``None``: it is to be read as a whole.

    Otherwise the whole manifest has the records that :func:`_each_text` yields and no other: its frame is intact, and
    each of their texts is JSON by itself.
    """
    with suppress(OSError, ValueError, RecursionError, SettingsError):
        frame = _frame(file)
        start = file.tell()
        of_volumes = json.loads(frame + _CLOSING).get("format") == VolumeManifest.model_fields["format"].default
        first = next(_each_text(file), b"")
        (VolumeManifest if of_volumes else Manifest).model_validate_json(frame + first + _CLOSING)
        file.seek(start)
        _require_json(file)
        file.seek(start)
        return VolumeRecord if of_volumes else ImageRecord
    return None


def _frame(file: BinaryIO) -> bytes:
    """Read what stands in front of the records, the bracket too; raise ``ValueError`` if it is laid out otherwise."""
    lines: list[bytes] = []
    while not lines or lines[-1] not in (*_OPENINGS, b""):
        lines.append(file.readline())
    frame = b"".join(lines)
    # A name that comes twice, as JSON may have it, is written once.
    written = json.dumps(json.loads(frame + _CLOSING), indent=2, ensure_ascii=False)
    if written.encode() != frame.removesuffix(b"\n") + b"]\n}":
        raise ValueError("the frame is laid out otherwise")
    return frame


def _each_text(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of each record, without a comma; raise ``ValueError`` if anything else is around them."""
    lines: list[bytes] = []
    for line in file:
        lines.append(line)
        if line in (_END, _END_WITH_MORE):
            if lines[0] != _BEGIN:
                raise ValueError("a record begins otherwise")
            yield b"".join([*lines[:-1], _END])
            lines.clear()
            if line == _END:
                break
    if file.read(len(_CLOSING) + 1) != _CLOSING:
        raise ValueError("the manifest ends otherwise")


def _require_json(file: BinaryIO) -> None:
    """Raise ``ValueError`` if a record is no JSON by itself: its lines could be parts of others."""
    for text in _each_text(file):
        from_json(text)
