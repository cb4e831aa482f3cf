# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read the records of a manifest one at a time, in memory that does not grow with their number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, Final

from monai_advenc.data.manifest import MANIFEST_NAME, Manifest, VolumeManifest, holds_volumes
from monai_advenc.data.records import FileRecord, ImageRecord, VolumeRecord
from monai_advenc.errors import SettingsError

_BEGIN, _END, _END_WITH_MORE = b"    {\n", b"    }\n", b"    },\n"
"""Lines around a record as this package writes manifests; no line inside a record is indented so little."""

_OF_VOLUMES: Final = b'"monai-advenc volume manifest"'


def each_record(folder: Path) -> Iterator[ImageRecord | VolumeRecord]:
    """Yield the records of a data set's images or volumes, in the manifest's order.

    A manifest that is laid out otherwise than this package writes it is read as a whole.

    Args:
        folder: The encrypted data set.

    Raises:
        VerificationError: There is no manifest, or it is damaged; perhaps only after records in front of the damage.
    """
    count = 0
    try:
        with (folder / MANIFEST_NAME).open("rb") as file:
            for record in _records_by_lines(file):
                yield record
                count += 1
        return
    except (OSError, ValueError, SettingsError):  # Reading it as a whole succeeds, or says what is wrong.
        pass
    records = VolumeManifest.load(folder).volumes if holds_volumes(folder) else Manifest.load(folder).images
    yield from records[count:]


def each_file(folder: Path) -> Iterator[FileRecord]:
    """Yield the files of all images or volumes, without masks, as :func:`each_record` does."""
    for record in each_record(folder):
        yield from record.files


def frame_of(path: Path) -> Any:
    """The content of a manifest, perhaps without records: what stands in front of them, without reading them.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no JSON.
    """
    with path.open("rb") as file:
        lines = list(takewhile(lambda line: line != _BEGIN, file))
    with suppress(ValueError):
        return json.loads(b"".join(lines) + b"]}")
    return json.loads(path.read_bytes())


def _records_by_lines(file: BinaryIO) -> Iterator[ImageRecord | VolumeRecord]:
    """Yield the records; raise ``ValueError`` if the rest, with the first of them, is no manifest."""
    frame: list[bytes] = []
    begun, more, of_volumes = False, True, False
    for line in file:
        if (line == _BEGIN) != more and begun:
            raise ValueError("a comma too many or too few")
        if line != _BEGIN:
            frame.append(line)
            continue
        lines = [line]
        while (line := file.readline()) not in (_END, _END_WITH_MORE, b""):
            lines.append(line)
        more = line == _END_WITH_MORE
        content = b"".join([*lines, _END])
        if not begun:
            begun, of_volumes = True, _OF_VOLUMES in b"".join(frame)
            frame.append(content)
        yield (VolumeRecord if of_volumes else ImageRecord).from_json(content.decode())
    if not begun:
        raise ValueError("no record on lines of its own")
    (VolumeManifest if of_volumes else Manifest).model_validate_json(b"".join(frame))
